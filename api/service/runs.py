"""What may be done with runs: queue one, stop one, and read what one saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlmodel import col

import ocore
from api.data import machines
from api.data.tables import Run, RunKind, RunPriority, RunState, Server, ServerStatus, now
from api.errors import Problem
from api.schemas.runs import RunCreate
from api.service import batching, mapping, quotas
from api.service.audit import Thing, changes
from api.service.queueing import end, enqueue, running, tell, waiting

if TYPE_CHECKING:
    from api.schemas.runs import RunOut
    from api.service.scope import Scope
    from api.settings import Settings


def create(settings: Settings, scope: Scope, name: str, body: RunCreate, by: str, *, batch: str | None = None) -> Run:
    """Queue a run that somebody asks for, alone or in a batch; a batch looks at the quota itself, once for all."""
    check(body, settings)
    server = scope.server(name, lock=True)
    if server.status == ServerStatus.REMOVING:
        raise Problem("removing")
    queued = waiting(scope.session, server)
    # A look that nobody asked for makes place.
    is_busy = queued is not None and queued.priority == RunPriority.ASKED
    if is_busy or server.status in {ServerStatus.VALIDATING, ServerStatus.PROVISIONING}:
        raise Problem("busy", f"The server is {server.status}, and a run of it waits or goes on.")
    if server.status == ServerStatus.PENDING and running(scope.session, server) is not None:
        raise Problem("busy", "The run before this one is still ending.")
    if batch is None:
        quotas.check_runs(scope, settings, [server.id])
    kind = RunKind(body.kind)
    run = enqueue(scope.session, server, kind, by, force=body.force, steps=body.steps, batch=batch)
    # Of a batch it is the batch's own entry that says how its servers were chosen.
    asked = {name: getattr(body, name) for name in RunCreate.model_fields}
    scope.note("run.create", _thing(run, server), changes({"batch_id": None}, asked | {"batch_id": batch}))
    return run


def _thing(run: Run, server: Server) -> Thing:
    return Thing("run", run.id, server.name, server.id)


def check(body: RunCreate, settings: Settings) -> None:
    """Raise `invalid` where the parts of a request do not go together."""
    steps = ocore.changing_steps(settings.options("").site)
    errors = [
        (f"/steps/{index}", f"must be one of {', '.join(steps)}")
        for index, step in enumerate(body.steps)
        if step not in steps
    ]
    if body.kind != "provision":
        errors += [("/force", "goes with kind provision only")] if body.force else []
        errors += [("/steps", "goes with kind provision only")] if body.steps else []
    if errors:
        raise Problem("invalid", "; ".join(f"{at}: {rule}" for at, rule in errors) + ".", errors=errors)


def cancel(scope: Scope, name: str, by: str) -> Run:
    """Stop a run: one that waits at once, one that goes on as soon as its worker sees it."""
    run = scope.run(name)
    # The server first, as everywhere: who locks in one order never waits in a circle.
    server = scope.server(run.server_id, lock=True)
    scope.session.refresh(run)
    if run.kind == RunKind.CLEANUP:
        raise Problem("not_cancellable")
    if run.state == RunState.QUEUED:
        end(run, RunState.CANCELLED, f"Cancelled by {by} before it began.", ocore.ErrorCode.CANCELLED)
        tell(scope.session, run)
        if run.kind != RunKind.DRIFT and not _is_told_of(server, running(scope.session, server)):
            _settle(server)
            scope.session.add(server)
    elif run.state == RunState.RUNNING:
        run.cancel_reason = run.cancel_reason or "cancelled"
    else:
        raise Problem("run_ended", f"The run has ended: {run.state}.")
    scope.session.add(run)
    scope.note("run.cancel", _thing(run, server))
    return run


def _is_told_of(server: Server, going: Run | None) -> bool:
    """Tell whether the run that goes on will say how a server stands: not one that was overtaken, and no look."""
    return going is not None and going.kind != RunKind.DRIFT and going.generation == server.generation


def _settle(server: Server) -> None:
    """Let a server that waited for a run which will not come be retried."""
    if server.status in {ServerStatus.PENDING, ServerStatus.VALIDATING, ServerStatus.PROVISIONING}:
        server.status, server.status_code = ServerStatus.ERROR, ocore.ErrorCode.CANCELLED
        server.status_message = "The run was cancelled before it began. Retry the server when you like."
        server.updated_at = now()


def shown(scope: Scope, run: Run) -> RunOut:
    """Return a run as it is told; one that waits says what for, where that is not only a worker."""
    told = mapping.run_out(run)
    if run.state == RunState.QUEUED:
        if machines.is_taken(scope.session, run.server_id):
            told.message = machines.WAITS
        elif batching.waits(scope.session, run):
            told.message = batching.WAITS
    return told


def listed(scope: Scope, name: str, *, limit: int, before: str | None) -> list[Run]:
    """Return a server's runs, newest first: those that were queued before the one with this id."""
    server = scope.server(name)
    query = scope.runs().where(col(Run.server_id) == server.id).order_by(col(Run.id).desc()).limit(limit)
    return list(scope.session.exec(query if before is None else query.where(col(Run.id) < before)).all())


def last_look(scope: Scope, name: str) -> Run | None:
    """Return the newest drift run of a server that succeeded."""
    server = scope.server(name)
    query = scope.runs().where(
        col(Run.server_id) == server.id, col(Run.kind) == RunKind.DRIFT, col(Run.state) == RunState.SUCCEEDED
    )
    return scope.session.exec(query.order_by(col(Run.id).desc()).limit(1)).first()
