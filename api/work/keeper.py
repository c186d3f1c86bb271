"""Keeps the leases of this process's runs, and brings them what others want of them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

from api.data.database import clock
from api.data.tables import Run, RunState
from api.logs import log
from api.work import sessions
from api.work.recorder import Fenced

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from api.parts import Parts
    from api.work.claims import Claim
    from api.work.recorder import RowRecorder

LOST: Final = "lost"
# How often what others want is looked for, and what tasks said is written.
_TICK: Final = 0.5
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
        """Ask the run to stop; the first reason counts."""
        self.reason = self.reason or reason
        self.cancel.set()


class Keeper:
    """A thread that looks after the runs of this process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._active: dict[str, Active] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; whoever stops it has no runs any more."""
        self._stopping.set()
        self._thread.join()

    def add(self, active: Active) -> None:
        """Look after a run."""
        with self._lock:
            self._active[active.claim.id] = active

    def drop(self, active: Active) -> None:
        """Look after a run no longer."""
        with self._lock:
            self._active.pop(active.claim.id, None)

    @property
    def active(self) -> list[Active]:
        """The runs that go on."""
        with self._lock:
            return list(self._active.values())

    def _loop(self) -> None:
        extended = 0.0
        while not self._stopping.wait(_TICK):
            extends = time.monotonic() - extended >= self._parts.settings.heartbeat_seconds
            for active in self.active:
                self._look_after(active, extends=extends)
            if extends:
                extended = time.monotonic()

    def _look_after(self, active: Active, *, extends: bool) -> None:
        settings = self._parts.settings
        try:
            self._ask(active, extends=extends)
            active.recorder.flush()
        except Fenced:
            active.stop(LOST)
        except SQLAlchemyError as error:
            _log.warning("the database does not answer", error=type(error).__name__, run=active.claim.id)
        # By our own clock, and before the lease ends: another worker must find nothing of ours at work.
        if time.monotonic() - active.kept_at > settings.lease_seconds * 2 / 3:
            active.stop(LOST)

    def _ask(self, active: Active, *, extends: bool) -> None:
        claim, seconds = active.claim, self._parts.settings.lease_seconds
        if not extends:
            with self._parts.database.read() as session:
                query = select(col(Run.cancel_reason)).where(*_ours(claim))
                reason = session.exec(query).first()
        else:
            asked_at = time.monotonic()
            with self._parts.database.write() as session:
                until = clock(session) + timedelta(seconds=seconds)
                session.execute(update(Run).where(*_ours(claim)).values(lease_until=until))
                sessions.extend(session, claim.id, seconds)
                reason = session.exec(select(col(Run.cancel_reason)).where(*_ours(claim))).first()
            active.kept_at = asked_at
        if reason is None:
            active.stop(LOST)
        elif reason:
            active.stop(reason)


def _ours(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        col(Run.id) == claim.id,
        col(Run.state) == RunState.RUNNING,
        col(Run.fence) == claim.run.fence,
    )
