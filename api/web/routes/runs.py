"""Our own operations: runs, their events, and what the last look at a server saw."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.schemas.fields import EventNumber
from api.schemas.runs import DriftOut, PlanOut, RunCreate, RunList, RunOut
from api.service import debugging, mapping, runs
from api.service.scope import Scope
from api.web import events
from api.web.dependencies import Manager, TheParts, Viewer
from api.web.once import Once
from api.web.paging import Cursor, page
from api.web.routes.responses import BODY, CONFLICT, KEYED, NOT_FOUND, PROBLEMS
from api.web.streams import Stream
from api.web.transaction import reading

router = APIRouter(prefix="/api", tags=["runs"], responses=PROBLEMS)


@router.post("/servers/{id}/runs", status_code=202, operation_id="createRun", responses=NOT_FOUND | CONFLICT | BODY)
def create_run(
    parts: TheParts,
    caller: Manager,
    once: Once,
    id: str,  # noqa: A002 - as the seed names it
    body: RunCreate,
    response: Response,
) -> RunOut:
    """Queue a run: `provision` (all steps or some, with `force` also those that are so), `validate` or `drift`."""

    def use(scope: Scope) -> RunOut:
        return runs.shown(scope, runs.create(parts.settings, scope, id, body, caller.subject))

    made = once(RunOut, use)
    if not once.replayed:
        parts.bell.ring()
    response.headers["Location"] = f"/api/runs/{made.id}"
    return made


@router.get("/servers/{id}/runs", operation_id="listRuns", responses=NOT_FOUND)
def list_runs(
    parts: TheParts,
    caller: Viewer,
    request: Request,
    response: Response,
    id: str,  # noqa: A002 - as the seed names it
    *,
    limit: Annotated[int, Query(ge=1, le=500, description="The most to return.")] = 100,
    cursor: Cursor = None,
) -> RunList:
    """Return a server's runs, newest first; a `Link` header with `rel="next"` leads to the rest."""

    def use(scope: Scope) -> list[RunOut]:
        found = runs.listed(scope, id, limit=limit + 1, before=str(cursor) if cursor else None)
        return [runs.shown(scope, one) for one in found]

    return RunList(runs=page(reading(parts.database, caller, use), limit, request, response))


@router.get("/servers/{id}/plan", operation_id="getPlan", responses=NOT_FOUND)
def get_plan(parts: TheParts, caller: Viewer, id: str) -> PlanOut:  # noqa: A002 - as the seed names it
    """Return what a provisioning run would do, as the last drift run saw it; POST a run of kind drift to look anew."""
    return reading(parts.database, caller, lambda scope: mapping.plan_out(runs.last_look(scope, id)))


@router.get("/servers/{id}/drift", operation_id="getDrift", responses=NOT_FOUND)
def get_drift(parts: TheParts, caller: Viewer, id: str) -> DriftOut:  # noqa: A002 - as the seed names it
    """Return which steps are no longer so, as the last drift run saw it; POST a run of kind drift to look anew."""
    return reading(parts.database, caller, lambda scope: mapping.drift_out(runs.last_look(scope, id)))


@router.get("/runs/{id}", operation_id="getRun", responses=NOT_FOUND)
def get_run(parts: TheParts, caller: Viewer, id: str) -> RunOut:  # noqa: A002 - as the seed names it
    """Return a run."""
    return reading(parts.database, caller, lambda scope: runs.shown(scope, scope.run(id)))


@router.post("/runs/{id}/cancel", status_code=202, operation_id="cancelRun", responses=NOT_FOUND | CONFLICT | KEYED)
def cancel_run(caller: Manager, once: Once, id: str) -> RunOut:  # noqa: A002 - as the seed names it
    """Stop a run: one that waits at once, one that goes on within seconds, here and on the server."""
    return once(RunOut, lambda scope: runs.shown(scope, runs.cancel(scope, id, caller.subject)))


@router.get(
    "/runs/{id}/debug-bundle",
    operation_id="getDebugBundle",
    response_class=Response,
    responses=NOT_FOUND
    | {
        200: {
            "description": "A gzipped tar",
            "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def get_debug_bundle(parts: TheParts, caller: Manager, id: str) -> Response:  # noqa: A002 - as the seed names it
    """Return what somebody elsewhere needs to make this run again by hand, and what it told; no secret is in it."""
    name, data = reading(parts.database, caller, lambda scope: debugging.bundle(scope, parts.settings, id))
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(data, media_type="application/gzip", headers=headers)


@router.get(
    "/runs/{id}/events",
    operation_id="followRun",
    response_class=StreamingResponse,
    responses=NOT_FOUND
    | {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, 204: {"description": "It has ended"}},
)
def follow_run(
    parts: TheParts,
    caller: Viewer,
    id: str,  # noqa: A002 - as the seed names it
    request: Request,
    last_event_id: Annotated[EventNumber, Header(description="Where to go on, exclusive.")] = None,
) -> Response:
    """Follow a run as server-sent events, from its first event or from after `Last-Event-ID`, to its end.

    Asked again after the end: 204, which tells an EventSource to stop.
    """
    after = events.position(last_event_id)
    ended = reading(parts.database, caller, lambda scope: events.is_over(scope.session, scope.run(id), after))
    if ended:
        return Response(status_code=204)
    request.app.state.streams.take(caller.organization)
    stream = events.follow(parts, id, after, request.app.state.stopping)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(request.app.state.streams, caller.organization, stream, headers=headers)
