"""A worker: Huey's threads that make runs, with the keeper and the sweeper beside them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy.exc import IntegrityError

import ocore
from api.data.database import AWAY
from api.logs import log
from api.work import outcome
from api.work.claims import claim
from api.work.execute import carry_out
from api.work.keeper import LOST, Active, Keeper
from api.work.outcome import HANDOVER
from api.work.owner import new_owner
from api.work.recorder import RowRecorder
from api.work.upkeep.deliverer import Deliverer
from api.work.upkeep.looks import Looks
from api.work.upkeep.monitor import Monitor
from api.work.upkeep.sweeper import Sweeper
from api.work.upkeep.tidier import Tidier

if TYPE_CHECKING:
    from api.parts import Parts
    from api.work.outcome import Done

# How long a run may take to end when it was stopped, and how long its end is tried to be written.
_END_SECONDS: Final = 60.0
_END_TRIES: Final = 3
_log = log(__name__)


class Worker:
    """Makes runs until it is stopped."""

    def __init__(self, parts: Parts, transport: Any = None) -> None:
        self._parts = parts
        # Where this process is stopped, what it has at work ends before its leases do, and another one may begin.
        self._transport = transport or ocore.SshTransport(leash=parts.settings.lease_seconds / 2)
        self.owner = new_owner()
        self._stopping = threading.Event()
        # Held from a claim until the keeper knows of it, so that a stop overlooks no run.
        self._claiming = threading.Lock()
        self._keeper = Keeper(parts, self.owner)
        self._sweeper = Sweeper(parts, self.owner)
        self._monitor = Monitor(parts, self.owner, self._transport) if parts.settings.monitor else None
        self._looks = Looks(parts, self.owner) if parts.settings.drift_interval_hours else None
        self._tidier = Tidier(parts, self.owner)
        self._deliverer = Deliverer(parts, self.owner)
        self._consumer = parts.bell.workers(parts.settings.workers, self.answer)

    def start(self) -> None:
        """Begin."""
        self._keeper.start()
        self._consumer.start()
        self._sweeper.start()
        self._tidier.start()
        self._deliverer.start()
        for beside in (self._monitor, self._looks):
            if beside is not None:
                beside.start()
        _log.info("worker started", owner=self.owner, slots=self._parts.settings.workers)

    def stop(self) -> None:
        """Take no more runs, let those that go on end within the grace time, and hand over the rest."""
        with self._claiming:
            self._stopping.set()
        self._consumer.stop_flag.set()
        for beside in (self._monitor, self._looks):
            if beside is not None:
                beside.stop()
        self._sweeper.stop()
        self._tidier.stop()
        self._deliverer.stop()
        grace = self._parts.settings.grace_seconds
        if self._keeper.active:
            _log.info("waiting for runs; what is left then is handed over", runs=len(self._keeper.active), grace=grace)
        self._wait(grace)
        for active in self._keeper.active:
            active.stop(HANDOVER)
        self._wait(_END_SECONDS)
        self._keeper.stop()
        _log.info("worker stopped", owner=self.owner, left=len(self._keeper.active))

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._keeper.active and time.monotonic() < deadline:
            time.sleep(0.05)

    def answer(self) -> None:
        """Make runs for as long as there are any; called by a Huey worker for a ring."""
        while (active := self._claim()) is not None:
            with structlog.contextvars.bound_contextvars(run=active.claim.id, server=active.claim.server.id):
                self._make(active)

    def _claim(self) -> Active | None:
        """Take the next run, and have its lease kept; None where there is none for us."""
        with self._claiming:
            if self._stopping.is_set():
                return None
            try:
                taken = claim(self._parts.database, self.owner, self._parts.settings)
            except AWAY as error:
                _log.warning("the database does not answer", error=type(error).__name__)
                return None
            if taken is None:
                return None
            active = Active(taken, RowRecorder(self._parts, taken))
            self._keeper.add(active)
            return active

    def _make(self, active: Active) -> None:
        taken, recorder = active.claim, active.recorder
        _log.info("run started", kind=taken.run.kind, attempt=taken.run.attempt)
        recorder.begin()
        try:
            done = carry_out(self._parts, taken, recorder, active.cancel, self._transport)
            if done is not None and active.reason != LOST:
                self._finish(active, done)
            else:
                _log.warning("the run is not ours any more")
        finally:
            self._keeper.drop(active)

    def _finish(self, active: Active, done: Done) -> None:
        """Write the end; a database that is away is waited for, for as long as the run is ours."""
        refused = 0
        while active.reason != LOST:
            try:
                kept = outcome.finish(self._parts, active.claim, active.recorder, done, active.reason)
            except AWAY as error:
                _log.warning("the end of a run could not be written yet", error=type(error).__name__)
                time.sleep(0.5)
                continue
            except IntegrityError:  # what it refers to went at the same moment: the next try finds it gone
                refused += 1
                if refused < _END_TRIES:
                    continue
                _log.exception("the end of a run could not be written")
                return
            except Exception:  # noqa: BLE001 - it is logged; once the lease has ended, the run goes to another worker
                _log.exception("the end of a run could not be written")
                return
            code = done.failure.code if done.failure else ""
            _log.info("run ended", kept=kept, error=code, reason=active.reason)
            return
