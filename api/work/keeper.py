"""Looks after the runs of this process: keeps their leases, brings them what others want, and writes what tasks said.

Three threads, so that none waits for another's database: a lease that cannot be extended must be noticed in time,
above all while the database does not answer.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import update
from sqlmodel import col, select

from api.data.database import AWAY, clock
from api.data.tables import Run, RunState
from api.logs import log
from api.work import sessions
from api.work.recorder import Fenced

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.parts import Parts
    from api.work.claims import Claim
    from api.work.recorder import RowRecorder

LOST: Final = "lost"
# How often what others want is looked for, and what tasks said is written.
_TICK: Final = 0.5
_FUSE_TICK: Final = 0.1
_log = log(__name__)


@dataclass
class Active:
    """A run that this process makes."""

    claim: Claim
    recorder: RowRecorder
    cancel: threading.Event = field(default_factory=threading.Event)
    reason: str = ""
    kept_at: float = field(default_factory=time.monotonic)

    def stop(self, reason: str) -> None:
        """Ask the run to stop; the first reason counts, but that it is lost counts more."""
        self.reason = reason if reason == LOST else self.reason or reason
        self.cancel.set()
        if reason == LOST:
            self.recorder.abandon()


class Keeper:
    """Threads that look after the runs of this process."""

    def __init__(self, parts: Parts, owner: str) -> None:
        self._parts = parts
        self._owner = owner
        self._extended_at = 0.0
        # By the number of the attempt, too: where a process was stopped for long, one slot still ends an attempt that
        # was taken from it while another one makes the next.
        self._active: dict[tuple[str, int], Active] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        work = {"leases": (self._keep, _TICK), "notes": (self._write, _TICK), "fuse": (self._fence, _FUSE_TICK)}
        self._threads = [
            threading.Thread(target=self._loop, args=what, name=name, daemon=True) for name, what in work.items()
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; whoever stops it has no runs any more."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def add(self, active: Active) -> None:
        """Look after a run."""
        with self._lock:
            self._active[active.claim.id, active.claim.run.fence] = active

    def drop(self, active: Active) -> None:
        """Look after a run no longer."""
        with self._lock:
            self._active.pop((active.claim.id, active.claim.run.fence), None)

    @property
    def active(self) -> list[Active]:
        """The runs that go on."""
        with self._lock:
            return list(self._active.values())

    def _loop(self, work: Callable[[], None], seconds: float) -> None:
        while not self._stopping.wait(seconds):
            try:
                work()
            except AWAY as error:
                _log.warning("the database does not answer", error=type(error).__name__)
            except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the rest goes on
                _log.exception("looking after the runs failed")

    def _keep(self) -> None:
        """Extend all leases, when it is time, and bring each run what others want of it."""
        active = self.active
        if not active:
            return
        asked_at = time.monotonic()
        if asked_at - self._extended_at >= self._parts.settings.heartbeat_seconds:
            self._extend([one.claim.id for one in active])
            self._extended_at = asked_at
        with self._parts.database.read() as session:
            ours = (col(Run.lease_owner) == self._owner, col(Run.state) == RunState.RUNNING)
            query = select(col(Run.id), col(Run.fence), col(Run.cancel_reason)).where(*ours)
            wishes = {(name, fence): reason for name, fence, reason in session.exec(query).all()}
        for one in active:
            reason = wishes.get((one.claim.id, one.claim.run.fence), LOST)
            if reason != LOST and self._extended_at == asked_at:
                one.kept_at = asked_at
            if reason:
                one.stop(reason)

    def _extend(self, runs: list[str]) -> None:
        seconds = self._parts.settings.lease_seconds
        with self._parts.database.write() as session:
            until = clock(session) + timedelta(seconds=seconds)
            ours = (col(Run.lease_owner) == self._owner, col(Run.state) == RunState.RUNNING)
            session.execute(update(Run).where(col(Run.id).in_(runs), *ours).values(lease_until=until))
            sessions.extend(session, runs, seconds)

    def _write(self) -> None:
        """Write what tasks said."""
        for active in self.active:
            try:
                active.recorder.flush()
            except Fenced:
                active.stop(LOST)

    def _fence(self) -> None:
        """Stop runs whose lease may end, by our own clock and without asking anybody.

        It is done before the lease ends: another worker must find nothing of ours at work.
        """
        limit = time.monotonic() - self._parts.settings.lease_seconds * 2 / 3
        for active in self.active:
            if active.kept_at < limit and active.reason != LOST:
                _log.warning("a lease could not be extended; its run is stopped", run=active.claim.id)
                active.stop(LOST)
