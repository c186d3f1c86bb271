"""Anything that anybody does, in any order: the service does what the model does, and what must always hold, holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlmodel import col, delete, select

import ocore
from api.data.database import clock
from api.data.tables import Run, Server, StepLog
from api.work.claims import Claim, claim
from api.work.keeper import Keeper
from api.work.outcome import Done, finish
from api.work.owner import new_owner
from api.work.recorder import Fenced, Overtaken, RowRecorder
from api.work.upkeep.sweeper import Sweeper
from ocore.testing import machine_key
from tests.faults import model
from tests.faults.model import Held, Model

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.parts import Parts
    from tests.service.support import Service

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BAD = ocore.Failure(ocore.ErrorCode.MEMORY_LOW, "Too little.")
STOPPED = ocore.Failure(ocore.ErrorCode.CANCELLED, "Stopped.")
AT_WORK = frozenset({"validating", "provisioning"})
SERVERS = 3
# The number of steps in a story, and how many stories are told.
STEPS, SHORT, LONG = 40, 10, 300


class Stories(RuleBasedStateMachine):
    """The model alone: every rule is something that somebody does."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.held: list[Held] = []
        self.before: list[model.Server] = []

    # --- requests

    @precondition(lambda self: len(self.model.servers) < SERVERS)
    @rule()
    def create(self) -> None:
        """Create a server."""
        self.says(self.model.create(), "POST", None)

    @rule(at=st.integers(0, SERVERS - 1), connection=st.booleans())
    def put(self, at: int, *, connection: bool) -> None:
        """Change a server's connection, or something else of it."""
        if at < len(self.model.servers):
            body = {"sshUser": f"user{self.model.servers[at].generation}"} if connection else {"description": "x"}
            self.says(self.model.put(at, connection=connection), "PUT", at, json=body)

    @rule(at=st.integers(0, SERVERS - 1))
    def retry(self, at: int) -> None:
        """Try a server again."""
        if at < len(self.model.servers):
            self.says(self.model.retry(at), "POST", at, "/retry")

    @rule(at=st.integers(0, SERVERS - 1), kind=st.sampled_from(["provision", "validate", "drift"]))
    def ask_for_a_run(self, at: int, kind: model.Kind) -> None:
        """Ask for a run."""
        if at < len(self.model.servers):
            self.says(self.model.run(at, kind), "POST", at, "/runs", json={"kind": kind})

    @rule(at=st.integers(0, SERVERS - 1))
    def reset(self, at: int) -> None:
        """Reset the host key."""
        if at < len(self.model.servers):
            self.says(self.model.reset(at), "POST", at, "/reset-host-key")

    @rule(at=st.integers(0, SERVERS - 1))
    def delete(self, at: int) -> None:
        """Remove a server."""
        if at < len(self.model.servers):
            self.says(self.model.delete(at), "DELETE", at)

    @rule(at=st.integers(0, SERVERS - 1), back=st.integers(1, 3))
    def cancel(self, at: int, back: int) -> None:
        """Cancel one of a server's last runs."""
        if at < len(self.model.servers) and back <= len(self.model.servers[at].runs):
            which = len(self.model.servers[at].runs) - back
            self.says_of_run(self.model.cancel(at, which), at, which)

    # --- workers

    @rule(rings=st.integers(1, 3))
    def claim(self, rings: int) -> None:
        """Somebody rings, perhaps several times, and a worker looks for each."""
        for _ in range(rings):
            held = self.model.claim()
            self.claimed(held)
            if held is not None:
                self.held.append(held)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """Have a worker write something, also one that was lost long ago."""
        held = data.draw(st.sampled_from(self.held))
        self.written(held, allowed=self.model.holds(held))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        """Have a worker see the host key."""
        held = data.draw(st.sampled_from(self.held))
        self.pinned(held, self.model.pin(held))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["well", "badly", "stopped"]))
    def finish(self, data: st.DataObject, how: Any) -> None:
        """Have a worker end its run, also one that was lost long ago."""
        held = data.draw(st.sampled_from(self.held))
        run = self.model.servers[held.server].runs[held.run]
        if how == "stopped" and (not run.reason or run.kind == "cleanup"):
            how = "well"
        done = self.model.stop(held) if how == "stopped" else self.model.finish(held, how)
        self.finished(held, how, done=done)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def heartbeat_and_sweep(self, data: st.DataObject) -> None:
        """Have a worker extend its lease, late or after it was lost: nothing is taken from who is only slow."""
        held = data.draw(st.sampled_from(self.held))
        self.kept(held, holds=self.model.holds(held))

    @precondition(lambda self: any(self.model.holds(one) for one in self.held))
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Have a worker die in the middle of its run: its lease ends, and a sweep finds it."""
        held = data.draw(st.sampled_from([one for one in self.held if self.model.holds(one)]))
        self.lost(held)
        self.model.lose(held)

    # --- what the service does of it; the model alone does nothing more

    def says(self, expected: str, method: str, at: int | None, end: str = "", **what: Any) -> None:
        """Compare what a request is answered."""

    def says_of_run(self, expected: str, at: int, which: int) -> None:
        """Compare what a request about a run is answered."""

    def claimed(self, expected: Held | None) -> None:
        """Compare what a worker gets."""

    def written(self, held: Held, *, allowed: bool) -> None:
        """Compare whether a worker may write."""

    def pinned(self, held: Held, expected: str) -> None:
        """Compare whether a worker may pin."""

    def finished(self, held: Held, how: str, *, done: bool) -> None:
        """Compare whether a worker may end its run."""

    def kept(self, held: Held, *, holds: bool) -> None:
        """Extend a lease, which counts only for who holds the run still, and sweep."""

    def lost(self, held: Held) -> None:
        """Let a lease end, and sweep."""

    @invariant()
    def holds(self) -> None:
        """Check what must always be so."""
        now = self.model.snapshot()
        model.check(self.before, now)
        self.before = now


def _lasting(service: Service) -> Parts:
    """Return a service's parts with leases none of which ends by itself, however busy the machine is."""
    return replace(service.parts, settings=service.settings.model_copy(update={"lease_seconds": 3600}))


class ServiceStories(Stories):
    """The same stories, told to a service, whose rows are compared with the model after each thing."""

    def __init__(self, service: Service, sweeper: Sweeper) -> None:
        super().__init__()
        self.service = service
        self.sweeper = sweeper
        self.lasting = _lasting(service)
        self.settings = self.lasting.settings
        self.ids: list[str] = []
        self.claims: dict[Held, tuple[Claim, RowRecorder]] = {}
        self.was: list[model.Server] = []

    def teardown(self) -> None:
        """Leave the storage empty for the next story."""
        with self.service.parts.database.write() as session:
            session.execute(delete(Server))

    def says(self, expected: str, method: str, at: int | None, end: str = "", **what: Any) -> None:
        """Make the request."""
        if at is None:
            self.ids.append(self.service.create(host=f"machine-{len(self.ids)}.example")["id"])
            return
        self._compare(expected, self.service.call(method, f"/api/servers/{self.ids[at]}{end}", **what))

    def says_of_run(self, expected: str, at: int, which: int) -> None:
        """Cancel a run."""
        runs = self._runs(at)
        name = runs[which].id if runs else "0190b4b0-0000-7000-8000-000000000000"
        self._compare(expected, self.service.call("POST", f"/api/runs/{name}/cancel"))

    def _compare(self, expected: str, answer: Any) -> None:
        said = str(answer.status_code) + (f" {answer.json()['code']}" if answer.is_error else "")
        assert said == expected, answer.text

    def claimed(self, expected: Held | None) -> None:
        """Look for a run as a worker does."""
        found = claim(self.service.parts.database, new_owner(), self.settings)
        if expected is None:
            assert found is None
            return
        assert found is not None
        assert found.id == self._runs(expected.server)[expected.run].id
        assert found.run.fence == expected.fence
        self.claims[expected] = found, RowRecorder(self.service.parts, found)

    def _written(self, held: Held, write: Callable[[RowRecorder], None]) -> str:
        try:
            write(self.claims[held][1])
        except Fenced:
            # A real worker has no second try.
            self.claims[held] = self.claims[held][0], RowRecorder(self.service.parts, self.claims[held][0])
            return "fenced"
        except Overtaken:
            return "overtaken"
        return "written"

    def written(self, held: Held, *, allowed: bool) -> None:
        """Begin a step."""
        said = self._written(held, lambda recorder: recorder.step_started("docker", NOW))
        assert said == ("written" if allowed else "fenced")

    def pinned(self, held: Held, expected: str) -> None:
        """See a key."""
        # Each server is a machine of its own.
        key = machine_key(str(held.server))
        assert self._written(held, lambda recorder: recorder.host_key_seen(key)) == expected

    def finished(self, held: Held, how: str, *, done: bool) -> None:
        """End the run."""
        failure = {"well": None, "badly": BAD, "stopped": STOPPED}[how]
        reason = self.model.servers[held.server].runs[held.run].reason if how == "stopped" else ""
        assert finish(self.service.parts, *self.claims[held], Done(failure), reason) == done

    def kept(self, held: Held, *, holds: bool) -> None:
        """Extend a lease as a worker does, at the last moment: it is over, and no sweep has found that yet."""
        if holds:
            self._end_lease(held)
        found = self.claims[held][0]
        # The product's own; it must do nothing for a worker whose run is another one's by now.
        Keeper(self.lasting, found.owner)._extend([found.id])  # noqa: SLF001
        self.sweeper.sweep()

    def lost(self, held: Held) -> None:
        """End a lease, and sweep."""
        self._end_lease(held)
        self.sweeper.sweep()

    def _end_lease(self, held: Held) -> None:
        with self.service.parts.database.write() as session:
            run = session.exec(select(Run).where(col(Run.id) == self.claims[held][0].id)).one()
            run.lease_until = clock(session) - timedelta(seconds=1)
            session.add(run)

    def _runs(self, at: int) -> list[Run]:
        with self.service.parts.database.read() as session:
            return list(session.exec(select(Run).where(col(Run.server_id) == self.ids[at]).order_by(col(Run.id))).all())

    def _seen(self, at: int) -> model.Server:
        with self.service.parts.database.read() as session:
            row = session.exec(select(Server).where(col(Server.id) == self.ids[at])).first()
            open_steps = session.exec(
                select(StepLog)
                .join(Run, col(Run.id) == col(StepLog.run_id))
                .where(col(StepLog.completed_at).is_(None), col(Run.state) != "running")
            ).all()
        assert not open_steps, "a step that began has no end, though its run has"
        if row is None:
            return model.Server(gone=True, secret=False)
        return model.Server(
            status="at work" if row.status in AT_WORK else row.status,
            generation=row.generation,
            epoch=row.host_key_epoch,
            pinned=row.host_key is not None,
            provisioned=row.provisioned,
            secret=row.sealed_private_key is not None,
            runs=[_plain(run) for run in self._runs(at)],
        )

    @invariant()
    def is_as_the_model(self) -> None:
        """Compare the rows with the model, and check what must always be so of them, too."""
        seen = [self._seen(at) for at in range(len(self.ids))]
        model.check(self.was, seen)
        self.was = seen
        for at, one in enumerate(seen):
            expected = self.model.servers[at]
            assert one.gone == expected.gone
            if not one.gone:
                assert one == expected


def _plain(run: Run) -> model.Run:
    return model.Run(run.kind, run.generation, run.state, run.fence, run.attempt, run.cancel_reason)  # type: ignore[arg-type]


def _told(make: Callable[[], RuleBasedStateMachine], examples: int) -> None:
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    run_state_machine_as_test(make, settings=settings)


def test_the_model_keeps_what_must_always_hold() -> None:
    """Of the model alone, three hundred stories; no row's test, since nothing of the product is in it."""
    _told(Stories, 300)


@pytest.mark.promise("F4", "F7", "F24", "A15")
def test_the_service_does_what_the_model_does(service: Service, record_property: Callable[[str, object], None]) -> None:
    """On each storage: the same answers, the same rows, and the same refusals for who comes late."""
    sweeper = Sweeper(_lasting(service), new_owner())
    _told(lambda: ServiceStories(service, sweeper), SHORT)
    record_property("runs", SHORT)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.promise("F4", "F7", "F24", "A15")
def test_the_service_does_what_the_model_does_at_length(
    service: Service, record_property: Callable[[str, object], None]
) -> None:
    """The same with more stories."""
    sweeper = Sweeper(_lasting(service), new_owner())
    _told(lambda: ServiceStories(service, sweeper), LONG)
    record_property("runs", LONG)
