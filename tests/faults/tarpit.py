"""Servers that waste the time of who connects, each at a port of its own of 127.0.0.1, in one thread."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from dataclasses import dataclass
from typing import Final, Self

GREETING: Final = b"SSH-2.0-OpenSSH_9.2p1 Tarpit\r\n"
NOISE: Final = b"y" * 65536
DROP_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Mode:
    """How a tarpit behaves.

    Attributes:
        begins: what it says at once.
        drops: what it says then, a byte at a time, for ever.
        floods: what it says then as fast as it is read, for ever.

    """

    begins: bytes = b""
    drops: bytes = b""
    floods: bytes = b""


MODES: Final = {
    "silent": Mode(),
    "a banner by drops": Mode(begins=b"SSH", drops=b"-2.0-" + b"x" * 10_000),
    "lines by drops": Mode(drops=b"Welcome\r\n" * 10_000),
    "silent after the banner": Mode(begins=GREETING),
    "a key exchange by drops": Mode(begins=GREETING, drops=b"\x00\x00\x05\xdc\x06\x14" + b"\x00" * 10_000),
    "a flood": Mode(floods=NOISE),
    "a flood after the banner": Mode(begins=GREETING, floods=NOISE),
}


class Tarpit:
    """Tarpits of one mode; it counts who comes to each, and who is still there."""

    def __init__(self, mode: str, count: int = 1) -> None:
        self._mode = MODES[mode]
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        self._said: dict[socket.socket, int] = {}
        self._listening = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(count)]
        self.ports: list[int] = [one.getsockname()[1] for one in self._listening]
        self.visits = dict.fromkeys(self.ports, 0)
        for one in self._listening:
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close all."""
        self._stop.set()
        self._thread.join()
        for one in (*self._listening, *self._said):
            one.close()
        self._selector.close()

    @property
    def held(self) -> int:
        """How many connections stand."""
        return len(self._said)

    def _serve(self) -> None:
        dropped = time.monotonic()
        while not self._stop.is_set():
            for key, events in self._selector.select(0.1):
                one: socket.socket = key.fileobj  # type: ignore[assignment]
                with contextlib.suppress(BlockingIOError):
                    self._answer(one, events)
            if time.monotonic() - dropped >= DROP_SECONDS:
                dropped = time.monotonic()
                for one in list(self._said):
                    self._drop(one)

    def _answer(self, one: socket.socket, events: int) -> None:
        if one not in self._said:
            self._welcome(one)
            return
        try:
            left = events & selectors.EVENT_READ and not one.recv(65536)
            if events & selectors.EVENT_WRITE and not left:
                one.send(self._mode.floods)
        except ConnectionError:
            left = True
        if left:
            self._forget(one)

    def _welcome(self, listening: socket.socket) -> None:
        come, _ = listening.accept()
        come.setblocking(False)
        self.visits[listening.getsockname()[1]] += 1
        self._said[come] = 0
        if self._mode.begins:
            come.send(self._mode.begins)
        floods = selectors.EVENT_WRITE if self._mode.floods else 0
        self._selector.register(come, selectors.EVENT_READ | floods)

    def _drop(self, one: socket.socket) -> None:
        at = self._said[one]
        if at < len(self._mode.drops):
            with contextlib.suppress(BlockingIOError):
                try:
                    one.send(self._mode.drops[at : at + 1])
                except ConnectionError:
                    self._forget(one)
                else:
                    self._said[one] = at + 1

    def _forget(self, one: socket.socket) -> None:
        self._selector.unregister(one)
        del self._said[one]
        one.close()
