"""Looks at servers that nobody asks for: each active one's drift, once in an interval, one now and one then."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, or_, update
from sqlmodel import col, select

from api.data.locks import lock_server
from api.data.tables import Run, RunKind, RunPriority, RunState, Server, ServerStatus, now
from api.service.queueing import enqueue, running, waiting
from api.work.upkeep.lead import leads
from api.work.upkeep.loop import Loop, apart

if TYPE_CHECKING:
    from sqlmodel import Session

    from api.parts import Parts

BY: Final = "schedule"
_LEAD: Final = "looks"
_PORTION: Final = 100
_ACTIVE: Final = (RunState.QUEUED, RunState.RUNNING)
_BEGINNING: Final = datetime(2020, 1, 1, tzinfo=UTC)


def next_look(server: str, moment: datetime, interval: timedelta) -> datetime:
    """Return when a server is looked at next: at its own place in each interval, so that all are spread evenly."""
    share = int.from_bytes(hashlib.sha256(server.encode()).digest()[:8], "big") / 2**64
    first = _BEGINNING + share * interval
    return first + ((moment - first) // interval + 1) * interval


class Looks:
    """A thread that queues looks, in one process at a time."""

    def __init__(self, parts: Parts, owner: str) -> None:
        self._parts = parts
        self._owner = owner
        self._interval = timedelta(hours=parts.settings.drift_interval_hours)
        self._loop = Loop("looks", self.step, parts.settings.sweep_seconds)

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def stop(self) -> None:
        """End."""
        self._loop.stop()

    def step(self) -> None:
        """Give servers that have none the moment of their next look, and queue those that are due."""
        if not leads(self._parts.database, _LEAD, self._owner, self._parts.settings.sweep_seconds * 5):
            return
        with apart("plan looks"):
            self._plan()
        for name in self._due():
            with apart("queue a look", server=name):
                if self._queue(name):
                    self._parts.bell.ring()

    def _plan(self) -> None:
        moment = now()
        # A moment that is further away than an interval was set when the interval was longer.
        unset = or_(col(Server.drift_at).is_(None), col(Server.drift_at) > moment + self._interval)
        query = select(Server.id).where(col(Server.status) == ServerStatus.ACTIVE, unset)
        with self._parts.database.read() as session:
            found = session.exec(query.order_by(col(Server.id)).limit(_PORTION)).all()
        if not found:
            return
        with self._parts.database.write() as session:
            for name in found:
                then = next_look(name, moment, self._interval)
                session.execute(update(Server).where(col(Server.id) == name).values(drift_at=then))

    def _due(self) -> list[str]:
        """Return servers to look at, the longest due first: as many as there may be looks more."""
        with self._parts.database.read() as session:
            of_ours = col(Run.priority) == RunPriority.BACKGROUND, col(Run.state).in_(_ACTIVE)
            under_way = session.exec(select(func.count()).select_from(Run).where(*of_ours)).one()
            free = self._parts.settings.drift_at_once - under_way
            if free <= 0:
                return []
            busy = select(Run.server_id).where(col(Run.state).in_(_ACTIVE))
            query = select(Server.id).where(col(Server.status) == ServerStatus.ACTIVE, col(Server.drift_at) <= now())
            query = query.where(col(Server.id).not_in(busy)).order_by(col(Server.drift_at)).limit(free)
            return list(session.exec(query).all())

    def _queue(self, name: str) -> bool:
        with self._parts.database.write() as session:
            server = lock_server(session, name)
            if server is None or not _is_idle(session, server):
                return False
            server.drift_at = next_look(name, now(), self._interval)
            session.add(server)
            enqueue(session, server, RunKind.DRIFT, BY, priority=RunPriority.BACKGROUND)
            return True


def _is_idle(session: Session, server: Server) -> bool:
    return (
        server.status == ServerStatus.ACTIVE and waiting(session, server) is None and running(session, server) is None
    )
