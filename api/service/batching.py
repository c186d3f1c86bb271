"""What a batch lets its runs do: begin, as long as there is a place and nothing has stopped it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, or_
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from api.data.tables import Batch, BatchStop, Run, RunState

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlmodel import Session

WAITS = "Waiting for a place in its batch."


def lets_start() -> ColumnElement[bool]:
    """Return the condition on a run that it is in no batch, or that its batch has a place for it."""
    other = aliased(Run)
    going = select(func.count()).where(col(other.batch_id) == col(Batch.id), col(other.state) == RunState.RUNNING)
    batch = select(Batch.id).where(col(Batch.id) == col(Run.batch_id), col(Batch.stopped) == BatchStop.NOT)
    return or_(col(Run.batch_id).is_(None), batch.where(going.scalar_subquery() < col(Batch.max_concurrent)).exists())


def take_place(session: Session, run: Run) -> bool:
    """Tell whether a run may begin, and let no other run of its batch be asked about until this transaction ends."""
    batch = _locked(session, run)
    if batch is None:
        return True
    return batch.stopped == BatchStop.NOT and _count(session, batch, RunState.RUNNING) < batch.max_concurrent


def waits(session: Session, run: Run) -> bool:
    """Tell whether a run that is queued has to wait for another one of its batch."""
    query = select(Run.id).where(col(Run.id) == run.id, ~lets_start())
    return run.batch_id is not None and session.exec(query).first() is not None


def ended(session: Session, run: Run) -> None:
    """Stop a batch in which too many runs have failed, now that this one has ended."""
    if run.state != RunState.FAILED:
        return
    batch = _locked(session, run)
    if batch is None or not batch.max_failures or batch.stopped != BatchStop.NOT:
        return
    session.add(run)
    session.flush()
    if _count(session, batch, RunState.FAILED) >= batch.max_failures:
        batch.stopped = BatchStop.FAILURES
        session.add(batch)


def _locked(session: Session, run: Run) -> Batch | None:
    """Return a run's batch, which nobody else changes in this transaction. The server's row was locked before."""
    if run.batch_id is None:
        return None
    query = select(Batch).where(col(Batch.id) == run.batch_id).with_for_update(key_share=True)
    return session.exec(query.execution_options(populate_existing=True)).first()


def _count(session: Session, batch: Batch, state: RunState) -> int:
    of_batch = select(func.count()).select_from(Run).where(col(Run.batch_id) == batch.id, col(Run.state) == state)
    return session.exec(of_batch).one()
