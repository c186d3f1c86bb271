"""Somebody cancels, removes or changes a server at any moment of its run: legal states only, and an end of it all."""

from __future__ import annotations

import itertools
import json
import threading
from typing import TYPE_CHECKING, Any, Final

import hypothesis
import pytest
from hypothesis import strategies as st
from sqlmodel import col, select

from api.data.tables import MachineHold, Run, Server, StepLog
from api.data.tables import Session as Slot
from tests.integration.apart import seconds_until
from tests.service.pausing import Pausing
from tests.service.support import RECORDINGS, SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.service.support import Service

    Record = Callable[[str, object], None]

# Run by `./dev faults`: the whole of them takes longer than everybody's tests may.
pytestmark = pytest.mark.slow

ENDED: Final = {"succeeded", "failed", "cancelled"}
NEVER: Final = 10**6  # answers before a pause that is not wanted
SCHEDULES: Final = 60


def _boundaries() -> list[int]:
    """Return the places in the recording where a step has just begun or ended; the first is also that of the login."""
    # Without the host key, and without the login's answer: those of the play are counted anew.
    lines = (RECORDINGS / "bare.jsonl").read_text(encoding="utf-8").splitlines()[2:]
    found, role = [0, 1], ""
    for number, line in enumerate(map(json.loads, lines)):
        if str(line.get("task", "")).startswith("Mark ") and line.get("event") == "runner_on_ok":
            found.append(number + 1)
        if (line.get("role") or role) != role:
            role = line["role"]
            found.append(number)
    return sorted({*found, len(lines) - 1})


PLACES: Final = _boundaries()
# What somebody does: the method, the rest of the path, and the body.
DEEDS: Final[dict[str, tuple[str, str, dict[str, Any] | None]]] = {
    "delete": ("DELETE", "", None),
    "another user": ("PUT", "", {"sshUser": "admin"}),
    "another host": ("PUT", "", {"host": "{host}"}),
    "another proxy": ("PUT", "", {"proxyType": "nginx"}),
    "retry": ("POST", "/retry", None),
    "reset": ("POST", "/reset-host-key", None),
    "look": ("POST", "/runs", {"kind": "drift"}),
}
CANCEL: Final = "cancel"


class Schedule:
    """A service with a worker that pauses where it is told to, and what is done to one server meanwhile."""

    def __init__(self, service: Service, transport: Pausing) -> None:
        self.service = service
        self.transport = transport
        self._hosts = itertools.count(1)

    def play(self, moments: list[tuple[int, list[str]]]) -> None:
        """Let a new server's runs pause at one place after the other, and do there what is to be done.

        The pause is in whichever run comes to that place, so that a later moment may be in another run.
        """
        self._pause_at(moments[0][0])
        made = self.service.create(host=self._host(1))["id"]
        for number, (_, deeds) in enumerate(moments):
            if number == 0:
                # Each place is in the recording, and nothing was done yet that would end the first run.
                seconds_until(self.transport.reached.is_set, SECONDS, "the first run comes there")
            seconds_until(
                lambda: self.transport.reached.is_set() or self._is_quiet(made), SECONDS, "a run comes there or ends"
            )
            for deed in deeds:
                self._do(made, deed)
            later = moments[number + 1 :]
            self._pause_at(later[0][0] if later else NEVER)
        seconds_until(lambda: self._is_quiet(made), SECONDS, lambda: f"all ends after {moments}; {self._told(made)}")
        self._check(made)

    def _pause_at(self, place: int) -> None:
        """Let the run that waits go on, and have the next one that comes to a place wait."""
        waited = self.transport.go
        self.transport.after = place
        self.transport.reached.clear()
        self.transport.go = threading.Event()
        # At last, and for good: however late a run looks at it, it goes on.
        waited.set()

    def _host(self, net: int) -> str:
        """Return an address that no other server of this test has."""
        high, low = divmod(next(self._hosts), 250)
        return f"10.{net}.{high}.{low + 1}"

    def _do(self, server: str, deed: str) -> None:
        path = f"/api/servers/{server}"
        if deed == CANCEL:
            answers = [self.service.call("POST", f"/api/runs/{run['id']}/cancel") for run in self._runs(server)[:1]]
        else:
            method, rest, body = DEEDS[deed]
            given = body and {key: value.format(host=self._host(2)) for key, value in body.items()}
            answers = [self.service.call(method, path + rest, **({"json": given} if given else {}))]
        for answer in answers:
            assert answer.status_code < 500, answer.text

    def _runs(self, server: str) -> list[dict[str, Any]]:
        answer = self.service.call("GET", f"/api/servers/{server}/runs")
        return answer.json()["runs"] if answer.status_code == 200 else []

    def _is_quiet(self, server: str) -> bool:
        """Tell whether no run of a server waits or goes on, and it is not being removed any more."""
        answer = self.service.call("GET", f"/api/servers/{server}")
        if answer.status_code == 404:
            return True
        return answer.json()["status"] != "removing" and all(run["state"] in ENDED for run in self._runs(server))

    def _told(self, server: str) -> object:
        return self.service.call("GET", f"/api/servers/{server}").text, self._runs(server)

    def _check(self, server: str) -> None:
        """Check that nothing is left of what went on, and that the server stands where it can be gone on with."""
        with self.service.parts.database.read() as session:
            row = session.exec(select(Server).where(col(Server.id) == server)).first()
            left = [
                *session.exec(select(Slot).where(col(Slot.server_id) == server)).all(),
                *session.exec(select(MachineHold)).all(),
                *session.exec(select(StepLog).where(StepLog.server_id == server, col(StepLog.completed_at).is_(None))),
            ]
            runs = session.exec(select(Run).where(col(Run.server_id) == server).order_by(col(Run.id))).all()
        assert not left
        if row is None:
            assert not runs, "runs outlived their server"
            return
        assert row.status in {"active", "error"}, (row.status, row.status_message)
        if row.status == "active":
            # One that was cancelled before it began has left an active server as it was.
            [last, *_] = [run for run in reversed(runs) if run.kind != "drift" and run.started_at is not None]
            assert (last.kind, last.state, last.generation) == ("provision", "succeeded", row.generation)
        self.transport.after = NEVER
        if row.status == "error":
            assert self.service.call("POST", f"/api/servers/{server}/retry").status_code == 200
        self.service.until(server, "active")


@pytest.mark.timeout(1800)
@pytest.mark.promise("F24")
def test_each_deed_at_each_boundary_of_a_step_ends_well(service: Service, record_property: Record) -> None:
    """Cancelled, removed, and led to another machine, at the begin and the end of each step."""
    transport = Pausing()
    deeds = (CANCEL, "delete", "another user", "another host")
    with service.worker(transport):
        schedule = Schedule(service, transport)
        for place, deed in itertools.product(PLACES, deeds):
            schedule.play([(place, [deed])])
    record_property("runs", len(PLACES) * len(deeds))


MOMENTS = st.lists(
    st.tuples(st.sampled_from(PLACES), st.lists(st.sampled_from([CANCEL, *DEEDS]), min_size=1, max_size=3)),
    min_size=1,
    max_size=3,
)


@pytest.mark.timeout(1800)
@pytest.mark.promise("F24")
def test_any_schedule_ends_well(service: Service, record_property: Record) -> None:
    """Whatever is done at whichever moments: legal states, nothing left open, and the server can be gone on with."""
    transport = Pausing()
    with service.worker(transport):
        schedule = Schedule(service, transport)

        @hypothesis.settings(
            max_examples=SCHEDULES,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(MOMENTS)
        def play(moments: list[tuple[int, list[str]]]) -> None:
            schedule.play(moments)

        play()
    record_property("runs", SCHEDULES)
