"""What others must hear of when a server's state changes, whoever changed it: seen as it is written.

A transaction is looked at before it goes to the database, so that no place in the code can change a server's state
and forget to say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import inspect

from api.data.tables import Server, ServerStatus
from api.service import audit

if TYPE_CHECKING:
    from sqlmodel import Session

_TOLD: Final = {
    ServerStatus.ACTIVE: "server.active",
    ServerStatus.ERROR: "server.error",
    ServerStatus.UNREACHABLE: "server.unreachable",
}
REMOVED: Final = "server.removed"


def watch(session: Session, _context: Any, _instances: Any) -> None:
    """Look at what a transaction is about to write."""
    with session.no_autoflush:
        for one in [*session.dirty, *session.deleted]:
            if not isinstance(one, Server):
                continue
            if one in session.deleted:
                _tell(session, one, REMOVED)
            elif inspect(one).attrs.status.history.has_changes() and one.status in _TOLD:
                _tell(session, one, _TOLD[ServerStatus(one.status)])


def _tell(session: Session, server: Server, event: str) -> None:
    thing = audit.server_thing(server)
    audit.note(session, event, thing, organization=server.organization_id, detail=server.status_message)
