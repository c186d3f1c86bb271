"""The command line: arguments in, progress and one outcome out. It uses the library as any other program would."""

from ocore.cli.program import main

__all__ = ["main"]
