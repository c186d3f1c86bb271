"""The application: `create_app(settings)`, for `ocore serve` and for any other ASGI server."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import Depends

from api.parts import Parts
from api.security.issuers import Issuers
from api.settings import Settings
from api.web import problems
from api.web.dependencies import known_query
from api.web.document import DocumentedApi
from api.web.gate import Gate
from api.web.limits import Limits
from api.web.metrics import Metrics
from api.web.routes import agents, audit, batches, capacity, health, receipts, runs, servers, webhooks
from api.web.streams import Streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

_ABOUT = "Takes over bare Linux servers by SSH, and turns them into ready, measured and watched ones."


def create_app(settings: Settings | None = None, *, parts: Parts | None = None, replays: bool = False) -> FastAPI:
    """Return the API as an ASGI application.

    Args:
        settings: the settings; from the environment and the settings file where None.
        parts: parts that are open already, and that the caller closes; opened from the settings where None.
        replays: whether runs are replayed, which `/health/ready` tells.

    Raises:
        SetupError: the service cannot start as it is set up.

    """
    opened = parts or Parts.open(settings or Settings())
    metrics = Metrics(opened.database)
    stopping = threading.Event()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        stopping.set()
        if parts is None:
            opened.close()

    app = DocumentedApi(
        title="oCore",
        description=_ABOUT,
        version=version("ocore"),
        lifespan=lifespan,
        redoc_url=None,
        # A redirect would send the body, and its secrets, to whatever the Host header names.
        redirect_slashes=False,
    )
    app.state.parts, app.state.metrics, app.state.stopping = opened, metrics, stopping
    app.state.replays = replays
    app.state.streams = Streams(opened.settings.streams_organization)
    for room in (servers, runs, batches, agents, receipts, audit, webhooks, capacity):
        app.include_router(room.router, dependencies=[Depends(known_query)])
    app.include_router(health.router)
    problems.install(app)
    gate: Any = Gate
    limits = Limits(opened.settings)
    app.add_middleware(
        gate,
        database=opened.database,
        tokens=opened.tokens,
        issuers=Issuers(opened.settings),
        metrics=metrics,
        limits=limits,
    )
    return app
