"""Where lines go. A place that is gone, such as a closed pipe, never decides what happens to a server."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO


class Screen:
    """The two streams of a command, and whether a machine or a person reads the first."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.live = not as_json and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines for people to standard output."""
        for line in lines:
            _write(sys.stdout, line)

    def object(self, shape: dict[str, Any]) -> None:
        """Write one object as one line to standard output."""
        _write(sys.stdout, json.dumps(shape, separators=(",", ":")))

    def complain(self, lines: Iterable[str]) -> None:
        """Write lines to standard error."""
        for line in lines:
            _write(sys.stderr, line)


def _write(stream: TextIO, line: str) -> None:
    try:
        stream.write(line + "\n")
        stream.flush()
    except OSError:
        silence(stream)


def silence(stream: TextIO) -> None:
    """Let a stream whose reader is gone lead nowhere; otherwise Python complains once more when it flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def prepare() -> None:
    """Let a character that the terminal's encoding lacks be spelled out instead of ending a run."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stream that a caller put there
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def settle() -> None:
    """Flush both streams; what cannot be written is dropped."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            silence(stream)
