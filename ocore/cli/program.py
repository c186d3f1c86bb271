"""The program: parses, carries out one command, shows its outcome and returns the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocore import engine
from ocore.cli import parser
from ocore.cli.exits import Exit
from ocore.cli.login import ask_at_terminal
from ocore.cli.outcome import Outcome, of_config_error, of_run
from ocore.cli.session import Session
from ocore.cli.show import screen as screens
from ocore.cli.show.screen import Screen
from ocore.errors import ConfigError, RecorderError, RunFailed

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from ocore.cli.door import Door
    from ocore.cli.login import Ask


def main(arguments: Sequence[str] | None = None, *, door: Door = engine, ask: Ask = ask_at_terminal) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: the words after the program's name; those of this process by default.
        door: what contacts servers.
        ask: asks a person for a secret.

    """
    screens.prepare()
    try:
        parsed = parser.build().parse_args(arguments)
        return int(_external(parsed) if "run" in parsed else _run(parsed, door, ask))
    except SystemExit as left:  # argparse, after --help or a usage error
        return int(left.code or 0)
    except KeyboardInterrupt:
        return Exit.CANCELLED
    finally:
        screens.settle()


def _external(parsed: Namespace) -> int:
    """Run another package's command."""
    code: int = parsed.run(parsed)
    return code


def _run(parsed: Namespace, door: Door, ask: Ask) -> int:
    screen = Screen(as_json=parsed.json)
    outcome = _outcome(Session(parsed, screen=screen, door=door, ask=ask))
    if screen.as_json:
        screen.object(outcome.to_dict(parsed.name) | _asked(parsed))
    else:
        screen.lines(outcome.lines)
    screen.complain(outcome.complaint)
    return outcome.exit


def _asked(parsed: Namespace) -> dict[str, Any]:
    """Return what a run was asked for besides the options, so that its bundle can make it again."""
    if parsed.name not in parser.ASKED:
        return {}
    return {"asked": {"steps": parsed.step, "force": parsed.force, "check": "check" in parsed and parsed.check}}


def _outcome(session: Session) -> Outcome:
    try:
        outcome: Outcome = session.arguments.command(session)
    except ConfigError as error:
        return of_config_error(error)
    except RunFailed as failed:
        return of_run(failed.result, session.pinned_place)
    except RecorderError as error:
        # Our recorder raises where the host key cannot be pinned; anything else is a defect, for a traceback.
        if not isinstance(error.__cause__, ConfigError):
            raise
        return of_config_error(error.__cause__, Exit.FAILED)
    return outcome
