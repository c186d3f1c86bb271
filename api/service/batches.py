"""What may be done with batches: have a run for each of many servers, see how they stand, and stop them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from sqlalchemy.orm import defer
from sqlmodel import col

from api.data.tables import Batch, BatchStop, Run, RunKind, RunState
from api.errors import Problem
from api.ids import is_id
from api.schemas.batches import MAX_SERVERS, BatchFailureOut, BatchOut, CountsOut, RefusedOut
from api.service import quotas, runs, servers
from api.service.audit import Thing, changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.schemas.batches import BatchCreate
    from api.service.scope import Scope
    from api.settings import Settings

_ACTIVE = (RunState.QUEUED, RunState.RUNNING)


def create(settings: Settings, scope: Scope, body: BatchCreate, by: str) -> Batch:
    """Queue a run for each chosen server; one that can have none now is written down with the reason."""
    runs.check(body, settings)
    batch = Batch(
        organization_id=scope.organization,
        kind=RunKind(body.kind),
        force=body.force,
        steps=list(body.steps),
        max_concurrent=body.max_concurrent,
        max_failures=body.max_failures,
        created_by=by,
    )
    refused = []
    chosen = _chosen(scope, body)
    # The whole of it or nothing: who gets half of a batch has to find out which half, to send the rest.
    quotas.check_runs(scope, settings, len(chosen))
    for server in chosen:
        try:
            runs.create(settings, scope, server, body, by, batch=batch.id)
        except Problem as problem:
            refused.append({"server_id": server, "code": problem.code, "detail": problem.detail or problem.code})
        else:
            batch.total += 1
    batch.refused = refused
    scope.session.add(batch)
    scope.session.flush()
    # Each run has an entry that names its server.
    asked = body.model_dump(exclude={"servers"}) | {"total": batch.total}
    scope.note("batch.create", Thing("batch", batch.id, batch.kind), changes({}, asked))
    return batch


def _chosen(scope: Scope, body: BatchCreate) -> Sequence[str]:
    """Return the servers that are meant, in the one order in which rows are locked."""
    by_filter = body.status is not None or body.q is not None
    if (body.servers is not None) == by_filter:
        rule = "give either servers, or status or q or both of them"
        raise Problem("invalid", f"/servers: {rule}.", errors=[("/servers", rule)])
    if body.servers is not None:
        return sorted(set(body.servers))
    found = servers.listed(scope, limit=MAX_SERVERS + 1, before=None, status=body.status, words=body.q)
    if len(found) > MAX_SERVERS:
        rule = f"more than {MAX_SERVERS} servers are chosen; choose fewer"
        raise Problem("invalid", f"/q: {rule}.", errors=[("/q", rule)])
    return sorted(server.id for server in found)


def find(scope: Scope, name: str, *, lock: bool = False) -> Batch:
    """Return a batch, or raise `not_found`."""
    query = scope.batches().where(col(Batch.id) == name)
    found = scope.session.exec(query.with_for_update() if lock else query).first() if is_id(name) else None
    if found is None:
        raise Problem("not_found", "There is no such batch.")
    return found


def cancel(scope: Scope, name: str) -> Batch:
    """Let no more runs of a batch begin; a sweep ends those that wait, and stops those that go on."""
    batch = find(scope, name, lock=True)
    if batch.stopped == BatchStop.CANCELLED or not any(run.state in _ACTIVE for run in _runs(scope, batch)):
        raise Problem("batch_ended")
    batch.stopped = BatchStop.CANCELLED
    scope.session.add(batch)
    scope.note("batch.cancel", Thing("batch", batch.id, batch.kind))
    return batch


def end_run(scope: Scope, name: str) -> None:
    """End a run of a batch that was stopped: one that waits; where the batch was cancelled, one that goes on, too."""
    run = scope.run(name)
    scope.server(run.server_id, lock=True)
    scope.session.refresh(run)
    batch = scope.session.get(Batch, run.batch_id)
    if batch is None or run.state not in _ACTIVE:
        return
    if run.state == RunState.QUEUED or (batch.stopped == BatchStop.CANCELLED and not run.cancel_reason):
        runs.cancel(scope, name, "its batch" if batch.stopped == BatchStop.CANCELLED else "its batch's failures")


def listed(scope: Scope, *, limit: int, before: str | None) -> Sequence[Batch]:
    """Return the organization's batches, newest first: those that were made before the one with this id."""
    query = scope.batches().order_by(col(Batch.id).desc()).limit(limit)
    return scope.session.exec(query if before is None else query.where(col(Batch.id) < before)).all()


def _runs(scope: Scope, batch: Batch) -> Sequence[Run]:
    # Without what they found: of drift in 500 servers that is a lot.
    query = scope.runs().where(col(Run.batch_id) == batch.id).order_by(col(Run.id))
    return scope.session.exec(query.options(defer(col(Run.result)))).all()  # type: ignore[arg-type]


def shown(scope: Scope, batch: Batch) -> BatchOut:
    """Return a batch as it is told."""
    found = _runs(scope, batch)
    counts = Counter(run.state for run in found)
    active = any(counts[state] for state in _ACTIVE)
    ends = [run.finished_at for run in found if run.finished_at is not None]
    return BatchOut(
        id=batch.id,
        kind=RunKind(batch.kind),
        force=batch.force,
        steps=batch.steps,
        state=_state(batch, active=active),
        max_concurrent=batch.max_concurrent,
        max_failures=batch.max_failures,
        total=batch.total,
        counts=CountsOut.model_validate({str(state): counts[state] for state in RunState}),
        failures=[
            BatchFailureOut(run_id=run.id, server_id=run.server_id, error_code=run.error_code, message=run.message)
            for run in found
            if run.state == RunState.FAILED
        ],
        refused=[RefusedOut.model_validate(one) for one in batch.refused],
        created_by=batch.created_by,
        created_at=batch.created_at,
        started_at=min((run.started_at for run in found if run.started_at is not None), default=None),
        finished_at=None if active else max(ends, default=batch.created_at),
    )


def _state(batch: Batch, *, active: bool) -> Literal["running", "stopping", "finished", "cancelled", "stopped"]:
    if batch.stopped == BatchStop.NOT:
        return "running" if active else "finished"
    if active:
        return "stopping"
    return "cancelled" if batch.stopped == BatchStop.CANCELLED else "stopped"
