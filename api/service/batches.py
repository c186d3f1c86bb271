"""What may be done with batches: have a run for each of many servers, see how they stand, and stop them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import func
from sqlmodel import col, select

from api.data.tables import Batch, BatchStop, Run, RunKind, RunState
from api.errors import Problem
from api.ids import is_id
from api.schemas.batches import MAX_SERVERS, BatchFailureOut, BatchOut, CountsOut, RefusedOut
from api.service import quotas, runs, servers
from api.service.audit import Thing, changes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

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
    quotas.check_runs(scope, settings, chosen)
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
    if batch.stopped == BatchStop.CANCELLED or not _is_active(scope, batch):
        raise Problem("batch_ended")
    batch.stopped = BatchStop.CANCELLED
    scope.session.add(batch)
    scope.note("batch.cancel", Thing("batch", batch.id, batch.kind))
    return batch


def runs_of(scope: Scope, name: str, *, limit: int, before: str | None) -> Sequence[Run]:
    """Return a batch's runs, newest first."""
    batch = find(scope, name)
    query = scope.runs().where(col(Run.batch_id) == batch.id).order_by(col(Run.id).desc()).limit(limit)
    return scope.session.exec(query if before is None else query.where(col(Run.id) < before)).all()


def _is_active(scope: Scope, batch: Batch) -> bool:
    query = scope.runs().where(col(Run.batch_id) == batch.id, col(Run.state).in_(_ACTIVE)).limit(1)
    return scope.session.exec(query).first() is not None


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


def shown(scope: Scope, batch: Batch) -> BatchOut:
    """Return a batch as it is told."""
    return all_shown(scope, [batch])[0]


def all_shown(scope: Scope, found: Sequence[Batch]) -> list[BatchOut]:
    """Return batches as they are told; what they have in common is counted by the database."""
    of_them = (col(Run.organization_id) == scope.organization, col(Run.batch_id).in_([one.id for one in found]))
    figures: tuple[Any, ...] = func.count(), func.min(Run.started_at), func.max(Run.finished_at)
    of_what = col(Run.batch_id), col(Run.state)
    sums: defaultdict[str, dict[str, _Sum]] = defaultdict(dict)
    for name, state, *found_out in scope.session.execute(select(*of_what, *figures).where(*of_them).group_by(*of_what)):
        sums[name][state] = _Sum(*found_out)
    told: tuple[Any, ...] = col(Run.batch_id), col(Run.id), col(Run.server_id), col(Run.error_code), col(Run.message)
    failed = select(*told).where(*of_them, col(Run.state) == RunState.FAILED).order_by(col(Run.id))
    failures: defaultdict[str, list[BatchFailureOut]] = defaultdict(list)
    for name, run, server, code, words in scope.session.execute(failed):
        failures[name].append(BatchFailureOut(run_id=run, server_id=server, error_code=code, message=words))
    return [_told(one, sums[one.id], failures[one.id]) for one in found]


@dataclass(frozen=True, slots=True)
class _Sum:
    """The runs of a batch in one state."""

    runs: int
    first_start: datetime | None
    last_end: datetime | None


def _told(batch: Batch, sums: dict[str, _Sum], failures: list[BatchFailureOut]) -> BatchOut:
    active = any(state in sums for state in _ACTIVE)
    starts = [one.first_start for one in sums.values() if one.first_start is not None]
    ends = [one.last_end for one in sums.values() if one.last_end is not None]
    return BatchOut(
        id=batch.id,
        kind=RunKind(batch.kind),
        force=batch.force,
        steps=batch.steps,
        state=_state(batch, active=active),
        max_concurrent=batch.max_concurrent,
        max_failures=batch.max_failures,
        total=batch.total,
        counts=CountsOut.model_validate({str(state): sums[state].runs if state in sums else 0 for state in RunState}),
        failures=failures,
        refused=[RefusedOut.model_validate(one) for one in batch.refused],
        created_by=batch.created_by,
        created_at=batch.created_at,
        started_at=min(starts, default=None),
        finished_at=None if active else max(ends, default=batch.created_at),
    )


def _state(batch: Batch, *, active: bool) -> Literal["running", "stopping", "finished", "cancelled", "stopped"]:
    if batch.stopped == BatchStop.NOT:
        return "running" if active else "finished"
    if active:
        return "stopping"
    return "cancelled" if batch.stopped == BatchStop.CANCELLED else "stopped"
