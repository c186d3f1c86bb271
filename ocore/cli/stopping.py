"""Signals while a run goes on: the first one cancels it and lets it clean up, the second one leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from ocore.cli.exits import Exit

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

_SHOW_CURSOR = b"\x1b[?25h"
_LEFT = b"\nLeft at once. What still runs on the server is stopped at the beginning of its next run.\n"


@contextlib.contextmanager
def stopping(cancel: threading.Event, say: Callable[[], None]) -> Iterator[None]:
    """Turn signals into `cancel`. `say` is called by the signal's handler: it must not write to buffered streams."""

    def stop(_signal: int, _frame: object) -> None:
        if cancel.is_set():
            _leave()
        cancel.set()
        say()

    signals = [signal.SIGINT, signal.SIGTERM]
    # Under nohup a hang-up is meant to change nothing.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say_stopping() -> None:
    """Say that the run is being stopped, in the one way that is safe while another line may be half written."""
    with contextlib.suppress(OSError):
        os.write(2, b"Stopping the run and what it started on the server. Once more: leave at once.\n")


def _leave() -> None:
    # The run's processes here end with this one: the sandbox sees to that.
    with contextlib.suppress(OSError):
        if os.isatty(1):
            os.write(1, _SHOW_CURSOR)
        os.write(2, _LEFT)
    os._exit(Exit.CANCELLED)
