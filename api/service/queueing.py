"""Putting runs in the queue of record, and taking them out again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func
from sqlmodel import col, select

from api.data.database import clock
from api.data.tables import Event, Run, RunKind, RunPriority, RunState, Server, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlmodel import Session

    from api.settings import Settings


def waiting(session: Session, server: Server) -> Run | None:
    """Return the run of a server that waits."""
    return _in(session, server, RunState.QUEUED)


def running(session: Session, server: Server) -> Run | None:
    """Return the run of a server that goes on."""
    return _in(session, server, RunState.RUNNING)


def _in(session: Session, server: Server, state: RunState) -> Run | None:
    return session.exec(select(Run).where(col(Run.server_id) == server.id, col(Run.state) == state)).first()


def enqueue(
    session: Session,
    server: Server,
    kind: RunKind,
    by: str,
    *,
    force: bool = False,
    steps: Sequence[str] = (),
    batch: str | None = None,
    priority: RunPriority = RunPriority.ASKED,
) -> Run:
    """Queue a run for a server; one that waits is replaced, since this one knows more."""
    replaced = waiting(session, server)
    if replaced is not None:
        end(replaced, RunState.CANCELLED, "Replaced by a newer run.")
        # Only one may wait, and the database is told in this order.
        session.add(replaced)
        tell(session, replaced)
        session.flush()
    run = Run(
        server_id=server.id,
        organization_id=server.organization_id,
        # A removal's deadline follows from it, so that it is told by the one clock which all processes share.
        created_at=clock(session),
        kind=kind,
        generation=server.generation,
        force=force,
        steps=list(steps),
        created_by=by,
        batch_id=batch,
        priority=priority,
    )
    session.add(run)
    session.flush()
    return run


def first_kind(server: Server, settings: Settings) -> RunKind:
    """Return the kind of run by which a server becomes active: a provisioning run begins with validation."""
    return RunKind.VALIDATE if settings.hold_after_validation and not server.provisioned else RunKind.PROVISION


def end(run: Run, state: RunState, message: str, code: str = "") -> None:
    """Write down how a run ended that nobody holds."""
    run.state, run.message, run.error_code = state, message, code
    run.finished_at = now()


def tell(session: Session, run: Run) -> None:
    """Add an event that says how a run stands which nobody holds: who holds one numbers its events alone."""
    last = session.exec(select(func.max(Event.number)).where(col(Event.run_id) == run.id)).one() or 0
    said = {"state": run.state, "message": run.message, "errorCode": run.error_code, "attempt": run.attempt}
    session.add(Event(run_id=run.id, number=last + 1, type="run", data=said, at=now()))


def stop(session: Session, server: Server, reason: str) -> None:
    """Ask for the end of the run that goes on, if there is one; who holds it sees it within a second."""
    run = running(session, server)
    if run is not None:
        run.cancel_reason = reason
        session.add(run)
