"""A service that takes what agents tell and does nothing else, at the address at which hosts reach this machine."""

from __future__ import annotations

import contextlib
import http.server
import json
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.hosts import engine

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Heartbeats:
    """What has come in: each heartbeat with the token that came with it."""

    url: str
    _taken: queue.Queue[tuple[str, dict[str, Any]]] = field(default_factory=queue.Queue)

    def next(self, seconds: float = 30) -> tuple[str, dict[str, Any]]:
        """Wait for one, and return its token and what it told."""
        return self._taken.get(timeout=seconds)

    def take(self, token: str, told: dict[str, Any]) -> None:
        """Keep one."""
        self._taken.put((token, told))


@contextlib.contextmanager
def taken() -> Iterator[Heartbeats]:
    """Take heartbeats for a while."""

    class Door(http.server.BaseHTTPRequestHandler):
        """Where they come in."""

        def do_POST(self) -> None:
            """Take one."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            beats.take(self.headers["Authorization"].removeprefix("Bearer "), json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer((engine.gateway(), 0), Door) as door:
        beats = Heartbeats(f"http://{engine.gateway()}:{door.server_port}")
        threading.Thread(target=door.serve_forever, daemon=True).start()
        try:
            yield beats
        finally:
            door.shutdown()
