"""Whether the service lives, can work, and what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import ocore
from api.data import migrate
from api.data.database import AWAY
from api.schemas.problems import Health
from api.web.dependencies import TheParts

if TYPE_CHECKING:
    from api.parts import Parts

router = APIRouter(tags=["health"])


@router.get("/health/live", operation_id="getLive")
def live() -> Health:
    """Answer, which is all that is asked."""
    return Health(status="ok", checks={})


@router.get("/health/ready", operation_id="getReady", responses={503: {"model": Health, "description": "Not ready"}})
def ready(parts: TheParts, request: Request, response: Response) -> Health:
    """Tell whether the database and the queue answer, and how well runs are kept apart here (`isolation`).

    Of a service that replays recordings, and reaches no server, `isolation` is `replayed`.

    A queue that does not answer is told, but is no reason to send requests elsewhere: what is accepted is not lost.
    """
    isolation = "replayed" if request.app.state.replays else ocore.isolation()
    checks = {"database": _database(parts), "queue": _queue(parts), "isolation": isolation}
    well = checks["database"] == "ok"
    response.status_code = 200 if well else 503
    return Health(status="ok" if well else "failing", checks=checks)


def _database(parts: Parts) -> str:
    try:
        return "ok" if migrate.is_current(parts.database) else "has another form than this version needs"
    except AWAY:
        return "does not answer"


def _queue(parts: Parts) -> str:
    try:
        parts.bell.waiting()
    except Exception:  # noqa: BLE001 - each storage raises its own
        return "does not answer"
    return "ok"


@router.get("/metrics", operation_id="getMetrics", include_in_schema=False)
def metrics(request: Request) -> Response:
    """Return the metrics as Prometheus reads them."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
