"""Ends removals whose deadline passed while they could not begin, or after they were tried and put off.

What waits for a worker only is left alone: one will come to it, and a server that is let go without a clean-up keeps
what was put on it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import or_
from sqlmodel import col, select

import ocore
from api.data import machines
from api.data.database import clock
from api.data.locks import lock_server
from api.data.tables import Run, RunKind, RunState
from api.logs import log
from api.service import receipts
from api.service.queueing import end
from api.work.upkeep.loop import apart

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session
    from sqlmodel.sql.expression import SelectOfScalar

    from api.parts import Parts
    from api.security.signer import Signer

_WAITED: Final = "It was not cleaned up: its deadline passed while its clean-up waited."
_log = log(__name__)


def end_overdue(parts: Parts) -> None:
    """Let go the servers whose clean-up was asked for before the deadline's length, and cannot begin."""
    with parts.database.read() as session:
        before = clock(session) - timedelta(seconds=parts.settings.cleanup_timeout)
        found = [run.id for run in session.exec(_overdue(before)).all()]
    for name in found:
        with apart("end an overdue removal", run=name), parts.database.write() as session:
            _let_go(session, name, before, parts.signer)


def _overdue(before: datetime) -> SelectOfScalar[Run]:
    waits = col(Run.kind) == RunKind.CLEANUP, col(Run.state) == RunState.QUEUED
    stuck = or_(machines.taken(), col(Run.start_after).is_not(None))
    return select(Run).where(*waits, col(Run.created_at) < before, stuck)


def _let_go(session: Session, name: str, before: datetime, signer: Signer) -> None:
    found = session.get(Run, name)
    server = lock_server(session, found.server_id) if found else None
    query = _overdue(before).where(col(Run.id) == name).with_for_update().execution_options(populate_existing=True)
    run = session.exec(query).first()
    if run is None or server is None:  # a worker was faster
        return
    tried = run.started_at is not None
    end(run, RunState.FAILED, f"{_WAITED} {run.message}".strip(), run.error_code or ocore.ErrorCode.RUN_TIMEOUT)
    if tried:  # a run that never began has no receipt
        receipts.write(session, signer, server, run, None)
    _log.warning("server removed without a clean-up", server=server.id, host=server.host, why=run.message)
    server.status_message = run.message
    session.add(server)
    session.delete(server)
