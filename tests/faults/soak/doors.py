"""Many ports that lead to a few hosts: each is the address of a server, and somebody real answers there."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence


class Doors:
    """Ports of this machine, each of which leads to another one; all of them are one thread's work.

    `tests/e2e/doors.py` has a door with threads of its own, for tests that have a few.
    """

    def __init__(self, to: Sequence[int]) -> None:
        self.visits = 0
        self._listening = [(socket.create_server(("127.0.0.1", 0), backlog=16), port) for port in to]
        self.ports = [int(one.getsockname()[1]) for one, _ in self._listening]
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="doors", daemon=True)

    def __enter__(self) -> Self:
        """Open them."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        for listening, port in self._listening:
            lead = functools.partial(self._lead, port)
            self._servers.append(await asyncio.start_server(lead, sock=listening))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _lead(self, to: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        # Cancelled only when all of them close, which is no error.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, thither = await asyncio.open_connection("127.0.0.1", to)
            await asyncio.gather(_carry(reader, thither), _carry(there, writer))
        writer.close()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry what one side says to the other one, until it has no more to say."""
    with contextlib.suppress(OSError):
        while said := await source.read(65536):
            sink.write(said)
            await sink.drain()
    sink.close()
