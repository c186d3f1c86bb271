"""What others must hear of when a server's state changes, whoever changed it: seen as it is written.

A transaction is looked at before it goes to the database, so that no place in the code can change a server's state
and forget to say so: to the audit log, and to webhooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import inspect

from api.data.tables import Run, RunKind, RunState, Server, ServerStatus
from api.service import audit, outbox
from api.service.mapping import drift_out

if TYPE_CHECKING:
    from sqlmodel import Session

_TOLD: Final = {
    ServerStatus.ACTIVE: "server.active",
    ServerStatus.ERROR: "server.error",
    ServerStatus.UNREACHABLE: "server.unreachable",
}
_REMOVED: Final = "server.removed"
_DRIFT: Final = "drift.found"
_MESSAGE: Final = 4000


def watch(session: Session, _context: Any, _instances: Any) -> None:
    """Look at what a transaction is about to write."""
    with session.no_autoflush:
        for one in list(session.deleted):
            if isinstance(one, Server):
                _tell(session, one, _REMOVED)
        for one in list(session.dirty):
            if isinstance(one, Server) and one.status in _TOLD and _changes(one, "status"):
                _tell(session, one, _TOLD[ServerStatus(one.status)])
            if isinstance(one, Run) and one.state == RunState.SUCCEEDED and _changes(one, "state"):
                _look_for_drift(session, one)


def _changes(row: Server | Run, column: str) -> bool:
    return bool(inspect(row).attrs[column].history.has_changes())


def _tell(session: Session, server: Server, event: str) -> None:
    thing = audit.server_thing(server)
    audit.note(session, event, thing, organization=server.organization_id, detail=server.status_message)
    status = "removed" if event == _REMOVED else str(server.status)
    said = {"status": status, "statusMessage": server.status_message[:_MESSAGE], "statusCode": str(server.status_code)}
    outbox.put(session, server.organization_id, event, _about(server) | said)


def _look_for_drift(session: Session, run: Run) -> None:
    server = session.get(Server, run.server_id) if run.kind == RunKind.DRIFT else None
    found = drift_out(run) if server is not None else None
    if server is None or found is None or not found.drifted:
        return
    steps = [{"step": one.step, "reasons": one.reasons} for one in found.steps]
    outbox.put(session, run.organization_id, _DRIFT, _about(server) | {"runId": run.id, "steps": steps})


def _about(server: Server) -> dict[str, Any]:
    return {"serverId": server.id, "name": server.name, "host": server.host}
