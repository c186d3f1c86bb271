"""From a run's progress to rows: the library's Recorder, with the fencing number on every write."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, update
from sqlmodel import col, select

import ocore
from api.data import machines
from api.data.database import AWAY
from api.data.locks import lock_server
from api.data.tables import AgentStatus, Event, Run, RunKind, Server, ServerStatus, StepLog, now
from api.logs import log
from api.service import agents, audit, standing
from api.service.mapping import specs_columns
from api.work.claims import Claim, holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlmodel import Session

    from api.parts import Parts

# A run writes its steps' ends at once, and what its tasks say in bundles.
_BUNDLE: Final = 200
_RETRY_SECONDS: Final = 0.5
_MESSAGE: Final = 4000
_NOT_RUN: Final = frozenset({ocore.StepStatus.SKIPPED, ocore.StepStatus.CANCELLED})
_VALIDATING: Final = frozenset(step.name for step in ocore.STEPS if step.validates)
_AGENT: Final = "agent"
_WORTHLESS: Final = (
    "The agent was given a token that was made worthless meanwhile, so it cannot tell anything; provision the server "
    "again, or its step agent alone."
)
_log = log(__name__)


_Said = tuple[str, dict[str, Any], "datetime"]


class Fenced(Exception):  # noqa: N818 - reads as what happened
    """The run is not ours any more; nothing was written."""


class Overtaken(Exception):  # noqa: N818 - reads as what happened
    """The run is ours, but about a connection that the server has no more; nothing was written."""


class Occupied(Exception):  # noqa: N818 - reads as what happened
    """The run is ours, but another one is at work on the machine that this one has found."""


class RowRecorder:
    """Writes what one run tells."""

    def __init__(self, parts: Parts, claim: Claim) -> None:
        self._parts = parts
        self._claim = claim
        self._lock = threading.RLock()
        self._lost = threading.Event()
        self._waiting: list[_Said] = []
        self._number: int | None = None
        self._open: str | None = None
        self._reached = ""
        self._places: list[str] = []
        self._agent_before: tuple[str, datetime | None] | None = None
        self._token_hash: str | None = None
        self.notes: tuple[str, ...] = ()  # what the run's end has to say besides

    # --- what the library tells ---------------------------------------------------------------------------------------

    def address_found(self, address: str) -> None:
        """Take the machine that is there, unless another run has it."""
        where = machines.plain(address)
        port = self._claim.server.port
        self._places = [machines.at(self._claim.server.host, port), machines.at(where, port)]
        self._occupy(self._places[-1], "address", where)

    def host_key_seen(self, key: ocore.HostKey) -> None:
        """Pin the key before any credential is sent; it must be the one that is pinned by now."""
        self._event("hostKey", {"type": key.type, "fingerprint": key.fingerprint})
        self._occupy(key.fingerprint, "shown_key", key.fingerprint)
        self._write(lambda session, server: self._pin(session, server, key))

    def step_started(self, step: str, at: datetime) -> None:
        """Open a row, and let the server show the step."""
        self._event("step", {"step": step, "status": "running", "message": ""}, at)
        row = StepLog(
            server_id=self._claim.server.id, run_id=self._claim.id, step=step, status="running", started_at=at
        )
        self._open = row.id
        self._write(lambda session, server: self._add(session, server, row, ran=True))

    def task_event(self, event: ocore.TaskEvent) -> None:
        """Keep what a task says for the next bundle."""
        said = {"step": event.step, "task": event.task, "kind": event.kind, "message": event.message[:_MESSAGE]}
        self._event("task", said, event.at)
        if len(self._waiting) >= _BUNDLE:
            self.flush()

    def step_finished(self, result: ocore.StepResult) -> None:
        """Close the row."""
        said = {"step": result.step, "status": str(result.status), "message": result.message[:_MESSAGE]}
        self._event("step", said | {"changed": result.changed, "durationMs": result.duration_ms}, result.finished_at)
        values: dict[str, Any] = {
            "status": str(result.status),
            "message": result.message[:_MESSAGE],
            "completed_at": result.finished_at,
            "duration_ms": result.duration_ms,
        }
        # A step that never ran is told of all the same, and is not what the server stands at.
        ran = result.status not in _NOT_RUN or result.error is not None
        self._reached = result.step if ran else self._reached
        opened, self._open = self._open, None
        if opened is not None:
            self._write(lambda session, server: self._close(session, server, opened, values, ran=ran))
        else:
            of_what: dict[str, Any] = {"server_id": self._claim.server.id, "run_id": self._claim.id}
            row = StepLog(**of_what, step=result.step, started_at=result.started_at, **values)
            self._write(lambda session, server: self._add(session, server, row, ran=ran))
        if result.step == _AGENT:
            self._write(lambda _, server: self._tell_of_agent(server, result))

    def facts(self, specs: ocore.HardwareSpecs) -> None:
        """Store the hardware."""
        columns = specs_columns(specs)
        self._event("facts", asdict(specs))
        self._write(lambda _, server: self._take(server, columns))

    # --- what the worker tells ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Tell that the run began."""
        attempt = self._claim.run.attempt
        self._event("run", {"state": "running", "message": "", "errorCode": "", "attempt": attempt})

    def hands_on(self, token: str | None) -> None:
        """Remember by what the token is known that the run brings to the agent."""
        self._token_hash = agents.digest(token) if token else None

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._write(None)

    def abandon(self) -> None:
        """Wait for no database any more: the run may be another's by now. Who waits for one is told that it is."""
        self._lost.set()

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Keep everybody else from writing while the caller writes the run's end.

        It is taken before the transaction begins: who flushes holds it, too, while waiting for the database.
        """
        with self._lock:
            yield

    def write_last(self, session: Session, run: Run) -> None:
        """Write what waits, and how the run ended, in a transaction of the caller's, who knows that the run is ours.

        May be called again where that transaction failed.
        """
        said = {"state": run.state, "message": run.message, "errorCode": run.error_code, "attempt": run.attempt}
        self._number = None
        self._insert(session, [*self._waiting, ("run", said, now())])

    # --- how ----------------------------------------------------------------------------------------------------------

    def _event(self, kind: str, data: dict[str, Any], at: datetime | None = None) -> None:
        with self._lock:
            self._waiting.append((kind, data, at or now()))

    def _write(self, change: Callable[[Session, Server | None], object] | None) -> None:
        """Write what waits and one change, in one transaction; wait a while for a database that is away.

        Whoever waits here looks at nothing else: what has stopped the run must reach it, or its processes would be at
        work beyond its lease.
        """
        deadline = time.monotonic() + self._parts.settings.lease_seconds * 2 / 3
        with self._lock:
            while True:
                before = self._number
                try:
                    self._write_once(change)
                except AWAY:
                    self._number = before
                    if time.monotonic() > deadline:
                        raise
                    if self._lost.wait(_RETRY_SECONDS):
                        raise Fenced from None
                except BaseException:
                    self._number = before
                    raise
                else:
                    self._waiting.clear()
                    return

    def _write_once(self, change: Callable[[Session, Server | None], object] | None) -> None:
        with self._parts.database.write() as session:
            server = lock_server(session, self._claim.server.id) if change is not None else None
            if not holds(session, self._claim):
                raise Fenced
            self._insert(session, self._waiting)
            if change is not None:
                change(session, server)

    def _insert(self, session: Session, events: list[_Said]) -> None:
        if self._number is None:
            of_run = select(func.max(Event.number)).where(col(Event.run_id) == self._claim.id)
            self._number = session.exec(of_run).one() or 0
        for kind, data, at in events:
            self._number += 1
            session.add(Event(run_id=self._claim.id, number=self._number, type=kind, data=data, at=at))

    def _current(self, server: Server | None) -> Server | None:
        """Return the server, if what this run finds out is still about it as it is now."""
        return server if server is not None and server.generation == self._claim.run.generation else None

    def _occupy(self, name: str, column: str, value: str) -> None:
        """Keep what the machine is known by, also where another run has it: so this one waits for that one's end."""
        held = False

        def take(session: Session, server: Server | None) -> None:
            nonlocal held
            current = self._current(server)
            if current is not None:
                setattr(current, column, value)
                session.add(current)
            held = machines.hold(session, self._claim.id, [name])
            if held and column == "shown_key" and self._places:
                # Address and key are seen: what the server was known by before may be somebody else's by now.
                machines.keep_only(session, self._claim.id, [*self._places, name])

        self._write(take)
        if not held:
            raise Occupied

    def _pin(self, session: Session, server: Server | None, key: ocore.HostKey) -> None:
        """Pin a first key; who sees another one than what was pinned meanwhile stops here."""
        if server is None or server.generation != self._claim.run.generation:
            raise Overtaken
        if server.host_key_epoch == self._claim.server.host_key_epoch:
            if server.host_key is not None and server.host_key != str(key):
                raise Fenced
            if server.host_key is None:
                thing, whose = audit.server_thing(server), server.organization_id
                audit.note(session, "server.pin-host-key", thing, organization=whose, detail=key.fingerprint)
            server.host_key, server.expected_fingerprint = str(key), None
        server.last_seen_at = now()
        session.add(server)

    def _add(self, session: Session, server: Server | None, row: StepLog, *, ran: bool) -> None:
        """Add the row of a step that begins, or of one that ended without; let the server show what it stands at."""
        kind = self._claim.run.kind
        if kind != RunKind.DRIFT:
            session.add(row)
        if server is None or not ran:
            return
        if kind == RunKind.PROVISION and row.step not in _VALIDATING:
            # Also where the server has another generation by now: there will be something to clean up. And also for a
            # step that is already so: it may be from a life of the server that we do not know of.
            server.touched = True
        if self._current(server) and kind != RunKind.DRIFT:
            server.provisioning_step = row.step
            if row.step == _AGENT and row.status == ocore.StepStatus.RUNNING:
                self._agent_before = server.agent_status, server.agent_since
                standing.step_began(server, self._parts.settings)
            if server.touched and row.step not in _VALIDATING and server.status == ServerStatus.VALIDATING:
                server.status, server.status_message = ServerStatus.PROVISIONING, "Being provisioned."
            server.updated_at = now()
        session.add(server)

    def _close(
        self, session: Session, server: Server | None, row: str | None, values: dict[str, Any], *, ran: bool
    ) -> None:
        session.execute(update(StepLog).where(col(StepLog.id) == row).values(**values))
        current = self._current(server)
        if not ran and current is not None and self._claim.run.kind != RunKind.DRIFT:
            current.provisioning_step = self._reached
            session.add(current)

    def _tell_of_agent(self, server: Server | None, result: ocore.StepResult) -> None:
        """Let the server show how its agent's step ended; one that was passed over says nothing of the agent."""
        current = self._current(server)
        if current is None or self._claim.run.kind == RunKind.DRIFT:
            return
        if result.status not in _NOT_RUN or result.error is not None:
            well = result.status in {ocore.StepStatus.SUCCESS, ocore.StepStatus.UNCHANGED}
            # The host key may have been reset, or the token rotated, while the run went on with the old one in hand.
            worthless = well and self._token_hash not in {None, current.agent_token_hash}
            self.notes = (_WORTHLESS,) if worthless else ()
            standing.step_ended(current, self._parts.settings, well=well and not worthless)
        elif self._agent_before is not None and current.agent_status == AgentStatus.INSTALLING:
            current.agent_status, current.agent_since = self._agent_before

    def _take(self, server: Server | None, columns: dict[str, Any]) -> None:
        if self._current(server) is None:
            return
        for name, value in columns.items():
            setattr(server, name, value)


def held_run(session: Session, claim: Claim) -> Run | None:
    """Return the run's row if it is still ours."""
    if not holds(session, claim):
        return None
    return session.exec(select(Run).where(col(Run.id) == claim.id)).one()
