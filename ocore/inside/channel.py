"""Answers to the library: JSON lines, written by a thread of their own so that no event handler ever waits."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from typing import Any, Final, Self

# Details beyond this many waiting lines are dropped and counted; boundaries are kept whatever happens.
WAITING: Final = 5000
MAX_LINE: Final = 256 * 1024


class Channel:
    """A queue of answers with one writer."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._lines: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._dropped = 0
        self._writer = threading.Thread(target=self._write, name="channel", daemon=True)
        self._writer.start()

    @classmethod
    def take_stdout(cls) -> Self:
        """Keep standard output for answers alone: whatever else is printed goes to standard error."""
        descriptor = os.dup(1)
        os.dup2(2, 1)
        return cls(descriptor)

    def say(self, answer: dict[str, Any], *, detail: bool = False) -> None:
        """Queue one answer; a detail may be dropped when the library does not keep up."""
        line = json.dumps(answer, default=str).encode() + b"\n"
        if len(line) > MAX_LINE:
            # That it happened may decide a step's outcome; what it said was too much.
            line = json.dumps(answer | {"result": {}}, default=str).encode() + b"\n"
        with self._changed:
            if self._closing:
                return
            if detail and len(self._lines) >= WAITING:
                self._dropped += 1
                return
            if self._dropped:
                self._lines.append(json.dumps({"type": "gap", "dropped": self._dropped}).encode() + b"\n")
                self._dropped = 0
            self._lines.append(line)
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._writer.join()
        self._file.close()

    def _write(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closing:
                    self._changed.wait()
                if not self._lines:
                    return
                line = self._lines.popleft()
            try:
                view = memoryview(line)
                while view:
                    view = view[self._file.write(view) :]
            except OSError:
                return  # nobody listens any more; the sandbox is about to end
