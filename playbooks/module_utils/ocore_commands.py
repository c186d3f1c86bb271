"""Running a program of the host's for what it prints: in the C locale, with a time limit, without its errors."""

from __future__ import annotations

import os
import subprocess
from typing import Sequence

SECONDS = 20
MAX_OUTPUT = 1024 * 1024


def output(command: Sequence[str], seconds: float = SECONDS) -> str:
    """Return what a command prints; nothing where it is missing, fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ, LC_ALL="C"),
            timeout=seconds,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout[:MAX_OUTPUT].decode("utf-8", errors="replace")
