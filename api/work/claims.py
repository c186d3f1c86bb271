"""Which run is next, and taking it: one worker gets it, with a lease and a fencing number."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, or_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

import ocore
from api.data import machines
from api.data.database import clock
from api.data.locks import lock_server
from api.data.tables import Run, RunKind, RunState, Server, ServerStatus
from api.service import batching
from api.work import sessions

if TYPE_CHECKING:
    from sqlmodel import Session

    from api.data.database import Database
    from api.settings import Settings

# How many runs of one organization are looked at: another worker may be faster with the first.
_EACH = 8


class Taken(Exception):  # noqa: N818 - reads as what happened
    """Another run is at work on the machine; this transaction is to be undone."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that is ours until the lease ends, and the server as it was then."""

    run: Run
    server: Server
    owner: str

    @property
    def id(self) -> str:
        """The run's id."""
        return self.run.id


def candidates(session: Session) -> list[str]:
    """Return the runs that may start: first what somebody asked for, then the fairest.

    That is the one whose organization has the fewest going on.
    """
    busy = select(Run.server_id).where(col(Run.state) == RunState.RUNNING)
    moment = clock(session)
    full = sessions.full(moment)
    may = or_(col(Run.start_after).is_(None), col(Run.start_after) <= moment)
    place = (
        func.row_number()
        .over(partition_by=col(Run.organization_id), order_by=(col(Run.priority), col(Run.id)))
        .label("place")
    )
    waiting = (
        select(col(Run.id), col(Run.organization_id), col(Run.priority), place)
        .join(Server, col(Server.id) == col(Run.server_id))
        .where(col(Run.state) == RunState.QUEUED, may, col(Run.server_id).not_in(busy), col(Run.server_id).not_in(full))
        .where(~machines.taken(), batching.lets_start())
        .subquery()
    )
    rows = session.execute(
        select(waiting.c.id, waiting.c.organization_id, waiting.c.priority, waiting.c.place).where(
            waiting.c.place <= _EACH
        )
    ).all()
    going = select(col(Run.organization_id)).where(col(Run.state) == RunState.RUNNING)
    load = Counter(session.exec(going).all())
    return [
        row.id for row in sorted(rows, key=lambda row: (row.priority, load[row.organization_id] + row.place, row.id))
    ]


def claim(database: Database, owner: str, settings: Settings) -> Claim | None:
    """Take the next run; None where none may start."""
    with database.read() as session:
        found = candidates(session)
    for name in found:
        try:
            with database.write() as session:
                taken = _take(session, name, owner, settings)
        except (IntegrityError, Taken):  # another worker was faster with a run of the same server or machine
            continue
        if taken is not None:
            return taken
    return None


def _take(session: Session, name: str, owner: str, settings: Settings) -> Claim | None:
    run = session.get(Run, name)
    server = lock_server(session, run.server_id) if run else None
    if run is None or server is None:
        return None
    if not batching.take_place(session, run) or not sessions.take(session, server, run.id, settings.lease_seconds):
        return None
    moment = clock(session)
    taken = session.execute(
        update(Run)
        .where(col(Run.id) == name, col(Run.state) == RunState.QUEUED)
        .values(
            state=RunState.RUNNING,
            fence=col(Run.fence) + 1,
            attempt=col(Run.attempt) + 1,
            lease_owner=owner,
            lease_until=moment + timedelta(seconds=settings.lease_seconds),
            started_at=func.coalesce(col(Run.started_at), moment),
            cancel_reason="",
            message="",
            basis=ocore.basis(settings.options(server.proxy_type)),
        )
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        sessions.give_back(session, run.id)
        return None
    if not machines.hold(session, run.id, machines.names(server)):
        raise Taken
    session.refresh(run)
    _show(server, run)
    server.updated_at = moment
    session.add(server)
    session.flush()
    session.expunge(run)
    session.expunge(server)
    return Claim(run, server, owner)


def _show(server: Server, run: Run) -> None:
    """Let a server show what is done with it."""
    again = f" (attempt {run.attempt})" if run.attempt > 1 else ""
    if run.kind == RunKind.CLEANUP:
        server.status_message = f"Being cleaned up{again}."
    elif run.kind != RunKind.DRIFT:
        server.status, server.status_code = ServerStatus.VALIDATING, ""
        server.status_message = f"Being validated{again}."
        server.provisioning_step = ""


def holds(session: Session, claim: Claim) -> bool:
    """Tell whether a run is still ours, and keep it so for this transaction."""
    kept = session.execute(
        update(Run)
        .where(col(Run.id) == claim.id, col(Run.state) == RunState.RUNNING, col(Run.fence) == claim.run.fence)
        .values(fence=claim.run.fence)
    )
    return bool(kept.rowcount == 1)  # type: ignore[attr-defined]
