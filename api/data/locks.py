"""Locks, and the one order in which transactions take them: who keeps to it never waits in a circle.

1. the organization's row, by who adds a server to it
2. servers' rows, in the order of their ids; whoever changes a run beyond its lease has its server's row
3. the run's row
4. the batch's row; who cancels a batch has this lock alone. Who claims a run has it before the run's: no circle, since
   the server's row is locked before both
5. what a run holds of a machine, in the order of the names

A transaction may leave some out, but goes back to none. Beside them stand webhooks, in the order of their ids, and then
their deliveries: an event has them kept from being deleted, at whatever place it is written, and who deletes, changes
or sends has none of the locks above. A lead's row is locked alone. SQLite has one lock for all.
"""

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
