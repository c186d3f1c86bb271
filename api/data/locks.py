"""The one lock that transactions take: a server's row, always before the rows of its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlmodel import col, select

from api.data.tables import Server

if TYPE_CHECKING:
    from sqlmodel import Session
    from sqlmodel.sql.expression import SelectOfScalar


def locking(query: SelectOfScalar[Server]) -> SelectOfScalar[Server]:
    """Return a query whose servers nobody else changes in this transaction. Rows that refer to them may be added."""
    locked: SelectOfScalar[Server] = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    return locked


def lock_server(session: Session, name: str) -> Server | None:
    """Return a server that nobody else changes in this transaction."""
    return session.exec(locking(select(Server).where(col(Server.id) == name))).first()
