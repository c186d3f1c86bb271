"""Lets go what is older than the settings want it kept, a little at a time."""

from __future__ import annotations

import time
from datetime import timedelta
from threading import Event as Flag
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, inspect, tuple_
from sqlmodel import SQLModel, col, select

from api.data.tables import Answer, AuditEntry, Batch, Delivery, Event, RevokedToken, Run, Sample, now
from api.work.upkeep.lead import leads
from api.work.upkeep.loop import Loop, apart

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement, Delete
    from sqlmodel.sql.expression import SelectOfScalar

    from api.parts import Parts

_LEAD: Final = "tidier"
_SECONDS: Final = 600.0
# What could not be let go now is tried again sooner.
_PAUSE: Final = 5.0
# The most runs or servers whose rows go in one transaction, and the most rows of what belongs to nothing of that kind.
_PORTION: Final = 20
_ROWS: Final = 500


class Tidier:
    """A thread that tidies, in one process at a time; however much there is to do, nothing waits for its end."""

    def __init__(self, parts: Parts, owner: str) -> None:
        self._parts = parts
        self._owner = owner
        self._next = 0.0
        self._loop = Loop("tidier", self._step, _PAUSE)

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def stop(self) -> None:
        """End, after the portion that goes."""
        self._loop.stop()

    def _step(self) -> None:
        if time.monotonic() < self._next:
            return
        if not leads(self._parts.database, _LEAD, self._owner, _SECONDS * 2) or tidy(self._parts, self._loop.stopping):
            self._next = time.monotonic() + _SECONDS


def tidy(parts: Parts, stopping: Flag | None = None) -> bool:
    """Delete what is older than the settings want it kept, until it is done or told to stop; tell whether all went."""
    settings = parts.settings
    portions = _Portions(parts, stopping or Flag())
    moment = now()
    ended = select(Run.id).where(col(Run.finished_at).is_not(None))
    old_events = moment - timedelta(days=settings.events_days)
    old_logs = moment - timedelta(days=settings.logs_days)
    old_answers = moment - timedelta(hours=settings.idempotency_hours)
    in_batch = select(col(Run.batch_id)).where(col(Run.batch_id).is_not(None))
    # A run takes its events and its log with it.
    aged = select(Run.id).where(col(Run.finished_at) < old_logs)
    portions.of_each(aged, lambda runs: delete(Run).where(col(Run.id).in_(runs)))
    portions.of(Answer, col(Answer.created_at) < old_answers)
    portions.of(Batch, col(Batch.created_at) < old_logs, col(Batch.id).not_in(in_batch))
    portions.of(AuditEntry, col(AuditEntry.at) < moment - timedelta(days=settings.audit_days))
    portions.of(Delivery, col(Delivery.created_at) < moment - timedelta(days=settings.deliveries_days))
    portions.of(RevokedToken, col(RevokedToken.expires_at) < moment)
    old = int((moment - timedelta(days=settings.metrics_days)).timestamp())
    told = select(col(Sample.server_id)).where(col(Sample.second) < old).distinct()
    portions.of_each(
        told, lambda names: delete(Sample).where(col(Sample.server_id).in_(names), col(Sample.second) < old)
    )
    emptied = select(col(Event.run_id)).where(col(Event.at) < old_events, col(Event.run_id).in_(ended)).distinct()
    portions.of_each(emptied, lambda runs: delete(Event).where(col(Event.run_id).in_(runs)))
    return not portions.left


class _Portions:
    """Deletes in short transactions: nobody else writes to SQLite meanwhile."""

    def __init__(self, parts: Parts, stopping: Flag) -> None:
        self._parts = parts
        self._stopping = stopping
        self.left = False  # whether anything could not be deleted

    def of_each(self, which: SelectOfScalar[str], what: Callable[[list[str]], Delete]) -> None:
        """Delete what belongs to many runs or servers."""
        with apart("let old rows go"):
            while not self._stopping.is_set():
                with self._parts.database.write() as session:
                    names = list(session.exec(which.limit(_PORTION)).all())
                    if not names:
                        return
                    session.execute(what(names))
        self.left = True

    def of(self, table: type[SQLModel], *conditions: ColumnElement[bool]) -> None:
        """Delete rows of a table."""
        key: tuple[Any, ...] = inspect(table).primary_key
        some = select(*key).where(*conditions).limit(_ROWS)
        portion = delete(table).where(tuple_(*key).in_(some)).execution_options(synchronize_session=False)
        with apart("let old rows go", table=str(table.__tablename__)):
            while not self._stopping.is_set():
                with self._parts.database.write() as session:
                    gone = session.execute(portion)
                if gone.rowcount < _ROWS:  # type: ignore[attr-defined]
                    return
        self.left = True
