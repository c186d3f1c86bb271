"""Agents: what they tell, what is known from it, and their tokens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response, Security
from fastapi.security import HTTPBearer

from api.schemas.agents import Heartbeat, LatestOut, MetricsOut, Period
from api.schemas.runs import RunOut
from api.service import agents, mapping, telling
from api.service.scope import Scope
from api.web.dependencies import Manager, TheParts, Viewer
from api.web.gate import HEARTBEAT
from api.web.once import Once
from api.web.routes.responses import BODY, CONFLICT, KEYED, NOT_FOUND, OFTEN, PROBLEMS
from api.web.transaction import reading

router = APIRouter(tags=["agents"], responses=PROBLEMS)
# For the API's document; the gate has looked at the header already.
_AGENT = HTTPBearer(
    auto_error=False, scheme_name="AgentToken", description="A server's own; only its agent has it, and nobody else."
)


@router.post(HEARTBEAT, status_code=204, operation_id="takeHeartbeat", responses=BODY | OFTEN)
def take_heartbeat(parts: TheParts, request: Request, body: Heartbeat, _: Annotated[Any, Security(_AGENT)]) -> Response:
    """Take what a server's agent tells. It is authenticated by the server's own token, and by no other."""
    agents.take(parts, request.state.agent, body)
    return Response(status_code=204)


@router.get("/api/servers/{id}/metrics", operation_id="getServerMetrics", responses=NOT_FOUND)
def get_metrics(
    parts: TheParts,
    caller: Viewer,
    id: str,  # noqa: A002 - as the seed names it
    period: Annotated[Period, Query(description="How far back.")] = "1h",
) -> MetricsOut:
    """Return load, memory and disk over a period, as the server's agent told them: averages of equal stretches."""
    return reading(parts.database, caller, lambda scope: telling.over(scope, id, period))


@router.get("/api/servers/{id}/metrics/latest", operation_id="getServerMetricsLatest", responses=NOT_FOUND)
def get_latest(parts: TheParts, caller: Viewer, id: str) -> LatestOut:  # noqa: A002 - as the seed names it
    """Return what the server's agent told last, and how much of the server's capacity is in use."""
    return reading(parts.database, caller, lambda scope: telling.latest(scope, id, parts.settings))


@router.post(
    "/api/servers/{id}/agent-token",
    status_code=202,
    operation_id="rotateAgentToken",
    responses=NOT_FOUND | CONFLICT | KEYED,
)
def rotate_token(parts: TheParts, caller: Manager, once: Once, id: str, response: Response) -> RunOut:  # noqa: A002 - as the seed names it
    """Make the token of a server's agent worthless at once, and queue the run that brings it a new one."""

    def use(scope: Scope) -> RunOut:
        return mapping.run_out(agents.rotate(scope, parts.settings, id, caller.subject))

    made = once(RunOut, use)
    if not once.replayed:
        parts.bell.ring()
    response.headers["Location"] = f"/api/runs/{made.id}"
    return made
