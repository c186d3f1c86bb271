"""A server that does not answer any more is removed: at once for who asks, and for good at its deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest
from sqlmodel import col, select

import ocore
from api.data.tables import Event, MachineHold, Run, Server, StepLog
from api.data.tables import Session as Slot
from ocore.testing import ReplayTransport, machine_key
from tests.service.support import RECORDINGS, opened, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.settings import Settings
    from ocore.intake.address import Reach
    from tests.service.support import Service

# Run by `./dev faults`: the whole of them takes longer than everybody's tests may.
pytestmark = pytest.mark.slow

# Of a removal, and how often is swept: overdue ones are looked for twenty sweeps after the start.
DEADLINE: Final = 3.0
SWEEP: Final = 0.1
HOST: Final = "192.0.2.99"
AWAY: Final = ocore.Failure(ocore.ErrorCode.CONNECT_TIMEOUT, "It does not answer.")


class Machine(ReplayTransport):
    """One machine, which can fall silent, and whose key can become another one.

    Attributes:
        silent: whether it does not answer.
        key: what makes its host key.

    """

    def __init__(self) -> None:
        super().__init__(RECORDINGS / "bare.jsonl")
        self.silent = False
        self.key = "first"

    def resolve(self, server: ocore.Server, allow: Reach) -> str | ocore.Failure:
        """Find it, unless it is silent."""
        return AWAY if self.silent else super().resolve(server, allow)

    def host_key(self, server: ocore.Server, where: str) -> ocore.HostKey | ocore.Failure:  # noqa: ARG002
        """Show the key."""
        return machine_key(self.key)


def _left(service: Service, server: str) -> int:
    """Count the rows that have to do with a server."""
    with service.parts.database.read() as session:
        runs = select(Run.id).where(col(Run.server_id) == server)
        rows = [
            *session.exec(select(Server).where(col(Server.id) == server)),
            *session.exec(runs),
            *session.exec(select(StepLog).where(col(StepLog.server_id) == server)),
            *session.exec(select(Event).where(col(Event.run_id).in_(runs))),
            *session.exec(select(Slot).where(col(Slot.server_id) == server)),
            *session.exec(select(MachineHold)),
        ]
    return len(rows)


@pytest.mark.promise("F25")
def test_a_silent_server_is_gone_at_its_deadline_and_can_come_again(
    settings: Settings, record_property: Callable[[str, object], None]
) -> None:
    """Removed twice it is removed once; the next one at its address is another machine, with a key of its own."""
    quick = settings.model_copy(update={"cleanup_timeout": DEADLINE, "sweep_seconds": SWEEP})
    machine = Machine()
    with opened(quick) as service, service.worker(machine):
        first = service.create(host=HOST)["id"]
        before = service.until(first, "active")
        assert before["hostKeyFingerprint"] == machine_key("first").fingerprint
        machine.silent = True
        began = time.monotonic()
        where = f"/api/servers/{first}"
        assert [service.call("DELETE", where).status_code for _ in range(2)] == [202, 202]
        assert [run["kind"] for run in service.runs(first)] == ["cleanup", "provision"]
        assert service.get(first)["status"] == "removing"
        taken = service.call("POST", "/api/servers", json=service.body(host=HOST))
        assert (taken.status_code, taken.json()["code"]) == (409, "address_taken")
        # Tried once, it is tried again later; its time is over before that.
        wait_for(lambda: "tried again" in service.get(first).get("statusMessage", ""), "it is tried", DEADLINE)
        wait_for(lambda: service.call("GET", where).status_code == 404, "it is gone")
        gone = time.monotonic() - began
        record_property("recovery", round(gone, 2))
        assert gone < DEADLINE + SWEEP * 20 + 5
        assert service.call("DELETE", where).status_code == 404
        assert _left(service, first) == 0

        machine.silent, machine.key = False, "another"
        second = service.create(host=HOST)["id"]
        assert service.get(second)["hostKeyFingerprint"] is None
        found = service.until(second, "active")
        assert second != first
        assert found["hostKeyFingerprint"] == machine_key("another").fingerprint
