"""Batches: a run for each of many servers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.schemas.batches import BatchCreate, BatchList, BatchOut
from api.schemas.runs import RunList, RunOut
from api.service import batches, runs
from api.service.scope import Scope
from api.web.dependencies import Manager, TheParts, Viewer
from api.web.once import Once
from api.web.paging import Cursor, page
from api.web.routes.responses import BODY, CONFLICT, KEYED, NOT_FOUND, PROBLEMS
from api.web.transaction import reading

router = APIRouter(prefix="/api", tags=["batches"], responses=PROBLEMS)


@router.post("/runs", status_code=202, operation_id="createBatch", responses=BODY | KEYED)
def create_batch(parts: TheParts, caller: Manager, once: Once, body: BatchCreate, response: Response) -> BatchOut:
    """Queue a run for each of the chosen servers, at most `maxConcurrent` of which go on at a time.

    Servers that can have no run now are in `refused`, each with the reason. After `maxFailures` failed runs no more
    of them begin (0: whatever fails).
    """

    def use(scope: Scope) -> BatchOut:
        return batches.shown(scope, batches.create(parts.settings, scope, body, caller.subject))

    made = once(BatchOut, use)
    if not once.replayed:
        for _ in range(min(made.counts.queued, made.max_concurrent, parts.settings.workers)):
            parts.bell.ring()
    response.headers["Location"] = f"/api/batches/{made.id}"
    return made


@router.get("/batches", operation_id="listBatches")
def list_batches(
    parts: TheParts,
    caller: Viewer,
    request: Request,
    response: Response,
    *,
    limit: Annotated[int, Query(ge=1, le=100, description="The most to return.")] = 20,
    cursor: Cursor = None,
) -> BatchList:
    """Return the organization's batches, newest first; a `Link` header with `rel="next"` leads to the rest."""

    def use(scope: Scope) -> list[BatchOut]:
        found = batches.listed(scope, limit=limit + 1, before=str(cursor) if cursor else None)
        return batches.all_shown(scope, found)

    return BatchList(batches=page(reading(parts.database, caller, use), limit, request, response))


@router.get("/batches/{id}", operation_id="getBatch", responses=NOT_FOUND)
def get_batch(parts: TheParts, caller: Viewer, id: str) -> BatchOut:  # noqa: A002 - as the seed names it
    """Return a batch: how many of its runs stand how, and which failed, with their codes."""
    return reading(parts.database, caller, lambda scope: batches.shown(scope, batches.find(scope, id)))


@router.get("/batches/{id}/runs", operation_id="listBatchRuns", responses=NOT_FOUND)
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
    """Return a batch's runs, newest first; a `Link` header with `rel="next"` leads to the rest."""

    def use(scope: Scope) -> list[RunOut]:
        found = batches.runs_of(scope, id, limit=limit + 1, before=str(cursor) if cursor else None)
        return [runs.shown(scope, one) for one in found]

    return RunList(runs=page(reading(parts.database, caller, use), limit, request, response))


@router.post(
    "/batches/{id}/cancel", status_code=202, operation_id="cancelBatch", responses=NOT_FOUND | CONFLICT | KEYED
)
def cancel_batch(once: Once, id: str) -> BatchOut:  # noqa: A002 - as the seed names it
    """Stop a batch: no more of its runs begin, and those that wait or go on end within seconds."""
    return once(BatchOut, lambda scope: batches.shown(scope, batches.cancel(scope, id)))
