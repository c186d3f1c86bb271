"""How many SSH connections a server has at one time, over all workers: never more than its `maxSshSessions`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, or_, update
from sqlmodel import col, select

from api.data.database import clock
from api.data.tables import Server
from api.data.tables import Session as Slot

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session
    from sqlmodel.sql.expression import SelectOfScalar


def take(session: Session, server: Server, holder: str, seconds: float) -> bool:
    """Take a connection for a time; False where all are taken. The server's row must be locked.

    Who has one already, from before it died and the clock was set back, has that one.
    """
    moment = clock(session)
    free = or_(col(Slot.until) < moment, col(Slot.id) == holder)
    session.execute(delete(Slot).where(col(Slot.server_id) == server.id, free))
    taken = session.exec(select(func.count()).select_from(Slot).where(col(Slot.server_id) == server.id)).one()
    if taken >= server.max_ssh_sessions:
        return False
    session.add(Slot(id=holder, server_id=server.id, until=moment + timedelta(seconds=seconds)))
    session.flush()
    return True


def full(moment: datetime) -> SelectOfScalar[str]:
    """Return the query for the servers all of whose connections are taken."""
    query = select(col(Slot.server_id)).join(Server, col(Server.id) == col(Slot.server_id))
    taken = query.where(col(Slot.until) >= moment).group_by(col(Slot.server_id), col(Server.max_ssh_sessions))
    return taken.having(func.count() >= col(Server.max_ssh_sessions))


def extend(session: Session, holders: list[str], seconds: float) -> None:
    """Keep connections for longer."""
    until = clock(session) + timedelta(seconds=seconds)
    session.execute(update(Slot).where(col(Slot.id).in_(holders)).values(until=until))


def give_back(session: Session, holder: str) -> None:
    """Give a connection back."""
    session.execute(delete(Slot).where(col(Slot.id) == holder))
