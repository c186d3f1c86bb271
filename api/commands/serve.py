"""`ocore serve`."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import uvicorn

from api import logs
from api.commands import replaying
from api.commands.opening import settings_of
from api.errors import SetupError
from api.main import create_app
from api.parts import Parts
from api.work.worker import Worker

if TYPE_CHECKING:
    from argparse import Namespace

    from fastapi import FastAPI

    from api.settings import Settings

# A stream of events has no end of its own.
_CLOSE_SECONDS = 5
_WAITING = 2048


def serve(arguments: Namespace) -> int:
    """Run the service until it is told to stop."""
    given = {name: value for name in ("host", "port") if (value := getattr(arguments, name)) is not None}
    if arguments.replay is not None:
        return replaying.serve(arguments, given, _run)
    settings = settings_of(arguments, **given)
    replaying.refuse_replayed(settings.home)
    return _run(arguments.role, settings)


def _run(role: str, settings: Settings, transport: Any = None) -> int:
    """Run one role until it is told to stop; with a transport, that one takes the place of every server."""
    logs.configure(settings)
    parts = Parts.open(settings)
    worker = Worker(parts, transport) if role != "api" else None
    try:
        if role == "worker":
            return _work(worker)
        return _serve(parts, worker, replays=transport is not None)
    finally:
        parts.close()


def _work(worker: Worker | None) -> int:
    """Work without an API, until a signal says to stop."""
    assert worker is not None  # noqa: S101 - the role says so
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    worker.start()
    # Not inside the event's own lock when the handler comes to set it.
    while not stop.is_set():
        time.sleep(0.2)
    worker.stop()
    return 0


def _serve(parts: Parts, worker: Worker | None, *, replays: bool) -> int:
    app = create_app(parts=parts, replays=replays)
    listening = _listen(parts.settings)
    server = _Server(app, worker, parts.settings.trusted_proxies)
    _say(parts.settings, listening.getsockname()[1])
    server.run([listening])
    if worker is not None:
        worker.stop()
    return 0 if server.started else 1


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        # Before anybody is told where we are: who comes at once waits, and is not refused.
        listening.listen(_WAITING)
    except OSError as error:
        raise SetupError(f"{settings.host} port {settings.port} cannot be listened at: {error.strerror}.") from None
    return listening


class _Server(uvicorn.Server):
    """uvicorn, with a worker that begins once requests are taken, and streams that end when it stops."""

    def __init__(self, app: FastAPI, worker: Worker | None, proxies: str) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_CLOSE_SECONDS,
                # Only these may say for whom they ask; by default uvicorn would look into the environment.
                forwarded_allow_ips=proxies,
            )
        )
        self._app = app
        self._worker = worker

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take requests, and then to work."""
        await super().startup(sockets)
        if self._worker is not None and self.started:
            self._worker.start()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop, and let the streams know."""
        self._app.state.stopping.set()
        super().handle_exit(sig, frame)
        # uvicorn would raise it once more when it has stopped, which would end us before the worker has.
        self._captured_signals.clear()


def _say(settings: Settings, port: int) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    at = f"http://{host}:{port}"
    sys.stderr.write(
        f"oCore serves at {at} (API document: {at}/docs)\n"
        f"Data and keys: {settings.home}\n"
        "A token, and a first request (in bash or zsh):\n"
        f"  ocore org create demo --home {settings.home}\n"
        f"  TOKEN=$(ocore token issue --org demo --home {settings.home})\n"
        f'  curl -H @<(echo "Authorization: Bearer $TOKEN") {at}/api/servers\n'
    )
    sys.stderr.flush()
