"""A transport that plays a recording up to a place of the test's choice, and waits there."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from ocore.testing import ReplayTransport
from tests.service.support import RECORDINGS, SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ocore

# In the recording `bare`: a place between two tasks of the step `docker`.
MIDWAY = 75


class Pausing(ReplayTransport):
    """Plays a recording, and waits before one of its answers until it may go on.

    Attributes:
        reached: set once a run waits.
        go: to be set for runs to go on. Who wants later runs to wait puts another one in its place first: a run that
            waits keeps the one that was there when it came.
        started: how many processes were started.
        ended: set once one was ended.

    """

    def __init__(self, name: str = "bare", after: int = MIDWAY, *, pace: float = 0) -> None:
        """Take the name of a recording, how many answers come before the pause, and the seconds between answers."""
        super().__init__(RECORDINGS / f"{name}.jsonl", own_keys=True)
        self.after = after
        self.pace = pace
        self.started = 0
        self.ended = threading.Event()
        self.reached = threading.Event()
        self.go = threading.Event()

    def start(self, server: ocore.Server) -> Any:
        """Start to play."""
        self.started += 1
        return _Paused(super().start(server), self)

    def wait(self) -> None:
        """Wait until a run has reached the pause."""
        assert self.reached.wait(SECONDS), "no run reached the pause"


class _Paused:
    """One process, which waits at the pause and also ends there when it is told to."""

    isolation = "full"

    def __init__(self, inner: Any, transport: Pausing) -> None:
        self.order, self.complaint = inner.order, inner.complaint
        self._inner = inner
        self._transport = transport
        self._ended = False

    def answers(self) -> Iterator[dict[str, Any] | None]:
        for number, answer in enumerate(self._inner.answers()):
            if number == self._transport.after:
                # Before anybody can know that it waits, so that it is the one which that somebody sets.
                go = self._transport.go
                self._transport.reached.set()
                while not (self._ended or go.is_set()):
                    time.sleep(0.01)
                    yield None
            time.sleep(self._transport.pace)
            yield answer

    def end(self) -> None:
        self._ended = True
        self._inner.end()
        self._transport.ended.set()
