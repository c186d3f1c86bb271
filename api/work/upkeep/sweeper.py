"""Finds what fell down: runs whose worker is lost, and rings that nobody heard."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, or_
from sqlmodel import col, select

import ocore
from api.data import machines
from api.data.database import clock
from api.data.locks import lock_server
from api.data.tables import Batch, BatchStop, Run, RunKind, RunState, Server
from api.errors import Problem
from api.logs import log
from api.service import batches, batching, receipts
from api.service.queueing import end, tell
from api.service.scope import Scope
from api.work import sessions
from api.work.claims import candidates
from api.work.outcome import close_steps, failed, give_up
from api.work.owner import is_dead, is_over
from api.work.upkeep.lead import leads
from api.work.upkeep.loop import Loop, apart
from api.work.upkeep.overdue import end_overdue

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session

    from api.parts import Parts
    from api.security.signer import Signer
    from api.settings import Settings

_LEAD: Final = "sweeper"
# So many sweeps after a start removals are ended that have waited for too long: the workers were away as well, and what
# may start is theirs first.
_CHANCE: Final = 20
_LOST: Final = "Its worker was lost."
_log = log(__name__)


class Sweeper:
    """A thread that sweeps, in one process at a time."""

    def __init__(self, parts: Parts, owner: str) -> None:
        self._parts = parts
        self._owner = owner
        self._began = time.monotonic()
        self._clock_was: tuple[float, datetime] | None = None
        self._patient_until = 0.0
        self._loop = Loop("sweeper", self.sweep, parts.settings.sweep_seconds)

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def stop(self) -> None:
        """End."""
        self._loop.stop()

    def sweep(self) -> None:
        """Look once."""
        settings = self._parts.settings
        self._look_at_the_clock()
        if leads(self._parts.database, _LEAD, self._owner, settings.sweep_seconds * 5):
            with apart("reap"):
                self._reap()
            with apart("end batches"):
                self._end_batches()
            if time.monotonic() - self._began > settings.sweep_seconds * _CHANCE:
                with apart("end overdue removals"):
                    end_overdue(self._parts)
        self._ring()

    def _look_at_the_clock(self) -> None:
        """Notice that the clock which leases follow has jumped: then they say nothing until all were extended by it.

        A jump that is shorter than what is left of a lease when it is extended ends none.
        """
        with self._parts.database.read() as session:
            self._read_clock(session)

    def _read_clock(self, session: Session) -> datetime:
        """Return what the clock says, having noticed whether it has jumped."""
        now_there, now_here = clock(session), time.monotonic()
        before, self._clock_was = self._clock_was, (now_here, now_there)
        if before is not None:
            seconds = self._parts.settings.lease_seconds
            jumped = (now_there - before[1]).total_seconds() - (now_here - before[0])
            if abs(jumped) > seconds / 3:
                _log.warning("the clock of the database has jumped", seconds=round(jumped))
                self._patient_until = now_here + seconds
        return now_there

    def _reap(self) -> None:
        settings = self._parts.settings
        with self._parts.database.read() as session:
            # The reading that leases are held against is itself looked at: the clock may jump at any moment.
            moment = self._read_clock(session)
            patient = time.monotonic() < self._patient_until
            query = select(Run).where(col(Run.state) == RunState.RUNNING)
            lost = [
                run.id
                for run in session.exec(query).all()
                if is_dead(run.lease_owner)
                or (not patient and is_over(run.lease_until, moment, settings.lease_seconds))
            ]
        for name in lost:
            with apart("reap", run=name), self._parts.database.write() as session:
                reap(session, name, settings, self._parts.signer)

    def _end_batches(self) -> None:
        """End the runs of batches that were stopped; each in a transaction of its own, as each has a server to lock."""
        with self._parts.database.read() as session:
            going = (
                col(Run.state) == RunState.RUNNING,
                col(Batch.stopped) == BatchStop.CANCELLED,
                col(Run.cancel_reason) == "",
            )
            query = select(col(Run.id), col(Run.organization_id)).join(Batch, col(Batch.id) == col(Run.batch_id))
            waits = col(Run.state) == RunState.QUEUED
            found = session.exec(query.where(col(Batch.stopped) != BatchStop.NOT, or_(waits, and_(*going)))).all()
        for name, organization in found:
            # A server may be gone by now, with its run.
            with apart("end batches", run=name), suppress(Problem), self._parts.database.write() as session:
                batches.end_run(Scope(session, organization), name)

    def _ring(self) -> None:
        """Ring for runs that may start, unless somebody is about to hear of them anyway."""
        with self._parts.database.read() as session:
            startable = len(candidates(session))
        if not startable:
            return
        try:
            unheard = self._parts.bell.waiting()
        except Exception:  # noqa: BLE001 - each storage raises its own
            return  # it does not answer; there will be another sweep
        for _ in range(min(startable, self._parts.settings.workers) - unheard):
            self._parts.bell.ring()


def reap(session: Session, name: str, settings: Settings, signer: Signer) -> None:
    """Take a run from its lost worker: back to the queue, or to its end where it was begun too often."""
    found = session.get(Run, name)
    server = lock_server(session, found.server_id) if found else None
    query = select(Run).where(col(Run.id) == name).with_for_update()
    run = session.exec(query.execution_options(populate_existing=True)).first()
    if run is None or server is None or run.state != RunState.RUNNING:
        return
    if not is_over(run.lease_until, clock(session), settings.lease_seconds) and not is_dead(run.lease_owner):
        return  # it was only slow
    sessions.give_back(session, run.id)
    close_steps(session, run.id, "Interrupted: its worker was lost.")
    if run.attempt < settings.max_attempts:
        give_up(session, server, run, _LOST, counts=True)
    else:
        _fail(session, server, run)
    batching.ended(session, run)
    machines.let_go(session, run.id)  # after the batch: see locks.py
    _log.warning("a run lost its worker", run=run.id, server=server.id, attempt=run.attempt, state=run.state)
    receipts.write(session, signer, server, run, None)
    session.add(run)
    session.add(server)
    tell(session, run)
    if run.kind == RunKind.CLEANUP and run.state == RunState.FAILED:
        _log.warning("server removed without a clean-up", server=server.id, host=server.host)
        server.status_message = f"It was not cleaned up. {run.message}"
        session.delete(server)


def _fail(session: Session, server: Server, run: Run) -> None:
    failure = ocore.Failure(ocore.ErrorCode.WORKER_LOST, f"The run lost its worker {run.attempt} times.")
    end(run, RunState.FAILED, str(failure), failure.code)
    run.fence += 1
    session.flush()
    if server.generation == run.generation and run.kind not in {RunKind.DRIFT, RunKind.CLEANUP}:
        failed(server, run, failure)
