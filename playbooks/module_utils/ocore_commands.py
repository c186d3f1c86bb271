"""Running a program of the host's for what it prints: in the C locale, with a time limit, without its errors."""

from __future__ import annotations

import os
import subprocess
from typing import Sequence

SECONDS = 20
MAX_OUTPUT = 1024 * 1024


class CommandError(OSError):
    """A program that had to answer did not; the text says why."""


def output(command: Sequence[str], seconds: float = SECONDS) -> str:
    """Return what a command prints; nothing where it is missing, fails or takes too long."""
    try:
        return _run(command, seconds)[:MAX_OUTPUT].decode("utf-8", errors="replace")
    except (OSError, subprocess.SubprocessError):
        return ""


def needed_output(command: Sequence[str], seconds: float = SECONDS) -> str:
    """Return all that a command prints, where no answer must not pass for an empty one; raises CommandError."""
    try:
        printed = _run(command, seconds)
    except (OSError, subprocess.SubprocessError) as error:
        raise CommandError(f"`{' '.join(command[:2])}` gives no answer ({_reason(error)})") from error
    if len(printed) > MAX_OUTPUT:
        raise CommandError(f"`{' '.join(command[:2])}` answers with more than {MAX_OUTPUT} bytes")
    return printed.decode("utf-8", errors="replace")


def _run(command: Sequence[str], seconds: float) -> bytes:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ, LC_ALL="C"),
        timeout=seconds,
        check=True,
    ).stdout


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"it ended with {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took more than {error.timeout:g} s"
    return str(error)
