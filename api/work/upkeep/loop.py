"""A thread that does one thing again and again, whatever happens, until it is told to end."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from api.data.database import AWAY
from api.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = log(__name__)


@contextmanager
def apart(what: str, **about: str) -> Iterator[None]:
    """Let what fails in here be logged, and nothing else of the step be held up by it, now and at every step."""
    try:
        yield
    except AWAY as error:
        _log.warning("the database does not answer", what=what, error=type(error).__name__, **about)
    except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the rest goes on
        _log.exception("a part of a step failed", what=what, **about)


class Loop:
    """Calls `step`, pauses, and goes on: a step that fails is logged, and the next one comes after the pause.

    Args:
        name: the thread's name, also in the log.
        step: what to do.
        pause: seconds between the end of a step and the next.

    """

    def __init__(self, name: str, step: Callable[[], None], pause: float) -> None:
        self._name = name
        self._step = step
        self._pause = pause
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin, with a step at once: what a stop left behind is not left waiting."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the step that goes on."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._step()
            except AWAY as error:
                _log.warning("the database does not answer", loop=self._name, error=type(error).__name__)
                self.stopping.wait(1)
            except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the rest goes on
                _log.exception("a step failed", loop=self._name)
                self.stopping.wait(1)
            if self.stopping.wait(self._pause):
                return
