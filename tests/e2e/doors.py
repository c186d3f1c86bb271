"""What a server's address may lead to in tests: a way to a host, or somebody who listens and says nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Door:
    """A port of this machine; it leads to another port, or is a tarpit: it takes connections, and never says a word."""

    def __init__(self, to: int | None) -> None:
        self.visits = 0
        self._to = to
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Begin to use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it, with all that came through."""
        # Closing alone does not wake who waits for a connection.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for one in self._open:
            _cut(one)
            one.close()
        self._thread.join()

    def _listen(self) -> None:
        while True:
            try:
                come, _ = self._listening.accept()
            except OSError:
                return
            self.visits += 1
            self._open.append(come)
            if self._to is not None:
                self._lead(come, self._to)

    def _lead(self, come: socket.socket, to: int) -> None:
        try:
            there = socket.create_connection(("127.0.0.1", to), timeout=10)
        except OSError:
            _cut(come)
            return
        there.settimeout(None)
        self._open.append(there)
        for source, sink in ((come, there), (there, come)):
            threading.Thread(target=_carry, args=(source, sink), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    """Carry what one side says to the other one, until it has no more to say."""
    with contextlib.suppress(OSError):
        while said := source.recv(65536):
            sink.sendall(said)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _cut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
