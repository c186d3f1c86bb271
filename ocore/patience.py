"""Waiting that ends when the run is to stop.

Reaching a server means waiting in calls that know nothing of runs: a resolver, a socket, a program. A run says here
how to tell that it is to stop; whatever waits asks in between. Outside a run nothing ever stops a wait.
"""

from __future__ import annotations

import contextlib
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICK: Final = 0.1

Answer = TypeVar("Answer")


def _never() -> None:
    """Let every wait go on."""


_check: ContextVar[Callable[[], None]] = ContextVar("check", default=_never)


@contextlib.contextmanager
def asking(check: Callable[[], None]) -> Iterator[None]:
    """Have all waits in here call `check`, which raises where they are to end."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def check() -> None:
    """Raise where the run is to stop."""
    _check.get()()


def answer_of(call: Callable[[], Answer], seconds: float) -> Answer:
    """Return what a call returns, or raise what it raises; one that cannot be interrupted is left to itself.

    Raises:
        TimeoutError: it took longer than it may.

    """
    answers: list[Answer] = []
    errors: list[Exception] = []

    def make() -> None:
        try:
            answers.append(call())
        except Exception as error:  # noqa: BLE001 - it is raised where the call was asked for
            errors.append(error)

    # A daemon: one that was abandoned must not keep the program from ending.
    thread = threading.Thread(target=make, name="waiting", daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds
    while thread.is_alive():
        check()
        if time.monotonic() > deadline:
            raise TimeoutError
        thread.join(TICK)
    if errors:
        raise errors[0]
    return answers[0]
