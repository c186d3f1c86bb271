"""Orders of the library: JSON lines, read by a thread of their own, which also notices when nobody sends any more."""

from __future__ import annotations

import json
import os
import queue
import select
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SILENT: Final = 3


class Orders:
    """The orders that come by a descriptor.

    Args:
        descriptor: where they come from.
        leash: seconds of silence, without an order or an empty line, after which this process ends, and with it all
            that it has started: whoever sent them does not look after the run any more. Never where None.

    """

    def __init__(self, descriptor: int, leash: float | None) -> None:
        self._descriptor = descriptor
        self._leash = leash
        self._orders: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the orders until no more can come."""
        while (line := self._orders.get()) is not None:
            yield json.loads(line)

    def _read(self) -> None:
        rest = b""
        while True:
            # What has arrived counts, however late this process itself gets to look.
            if not select.select([self._descriptor], [], [], self._leash)[0]:
                self._let_go()
            chunk = os.read(self._descriptor, 65536)
            if not chunk:
                self._orders.put(None)
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(None, lines):
                self._orders.put(line)

    def _let_go(self) -> None:
        os.write(2, f"Nothing was heard of the program that made this run for {self._leash:g} s.\n".encode())
        os._exit(_SILENT)
