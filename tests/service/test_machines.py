"""One run at a time on a machine, whichever servers lead to it, and whosever they are."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlmodel import col, select

import ocore
from api.data import machines
from api.data.locks import lock_server
from api.data.tables import Batch, MachineHold, Run, RunState, Server, now
from api.data.tables import Session as Slot
from api.service import batching
from api.work import claims
from api.work.claims import Taken, claim
from api.work.outcome import Done, finish
from api.work.owner import new_owner
from api.work.recorder import Occupied, RowRecorder
from api.work.upkeep.sweeper import reap
from tests.service.pausing import Pausing
from tests.service.support import patiently, wait_for
from tests.unit.keymaker import public_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.work.claims import Claim
    from tests.service.support import Service

KEY = ocore.HostKey.parse(public_key("ed25519"))


def take(service: Service) -> Claim | None:
    """Claim the next run."""
    return claim(service.parts.database, new_owner(), service.settings)


def taken(service: Service) -> Claim:
    """Claim the next run, which there is."""
    found = take(service)
    assert found is not None
    return found


def end(service: Service, run: str) -> None:
    """Let a run end, as its worker would."""
    with service.parts.database.write() as session:
        row = session.exec(select(Run).where(col(Run.id) == run)).one()
        row.state, row.finished_at = RunState.SUCCEEDED, now()
        session.add(row)
        machines.let_go(session, run)


def holds(service: Service) -> set[str]:
    """Return what machines are known by on which runs are at work."""
    with service.parts.database.read() as session:
        return set(session.exec(select(MachineHold.name)).all())


def server(service: Service, name: str) -> Server:
    """Return a server's row."""
    with service.parts.database.read() as session:
        return session.exec(select(Server).where(col(Server.id) == name)).one()


def message(service: Service, name: str, organization: str = "one") -> str:
    """Return what the newest run of a server says."""
    token = service.token(organization=organization)
    runs = service.call("GET", f"/api/servers/{name}/runs", token=token).json()["runs"]
    return str(runs[0]["message"])


class Names(Pausing):
    """Leads every name to one address, but for literals; the key is the address' own."""

    def resolve(self, server: ocore.Server, allow: Any) -> str | ocore.Failure:
        """Resolve."""
        return "192.0.2.99" if server.host.endswith(".example") else super().resolve(server, allow)


def test_two_organizations_servers_at_one_address_take_turns(service: Service) -> None:
    """The second one's run is not claimed while the first one's goes on, says why, and tells nothing of whose it is."""
    service.create(host="192.0.2.7", name="first")
    other = service.create("two", host="192.0.2.7", name="second")["id"]
    first = taken(service)
    assert take(service) is None
    said = message(service, other, "two")
    assert said == machines.WAITS
    assert not [word for word in ("first", "one", first.server.id, first.id) if word in said.split()]
    end(service, first.id)
    assert message(service, other, "two") == ""
    assert taken(service).server.id == other


def test_a_claim_that_comes_late_takes_nothing(service: Service) -> None:
    """Two workers saw both runs waiting; the slower one's transaction is undone as a whole."""
    service.create(host="192.0.2.7")
    second = service.create("two", host="192.0.2.7")["id"]
    first = taken(service)
    with service.parts.database.read() as session:
        run = session.exec(select(Run.id).where(col(Run.server_id) == second)).one()
    with pytest.raises(Taken), service.parts.database.write() as session:
        claims._take(session, run, new_owner(), service.settings)  # noqa: SLF001 - the moment cannot be met from outside
    with service.parts.database.read() as session:
        assert session.exec(select(Run.state).where(col(Run.id) == run)).one() == RunState.QUEUED
        assert session.exec(select(Slot.id)).all() == [first.id]


def test_an_end_and_a_claim_take_their_locks_in_one_order(service: Service) -> None:
    """The batch before what is held of the machine, so that neither waits for the other in a circle."""
    batch = Batch(organization_id=service.organization(), kind="provision", max_concurrent=2, max_failures=1)
    with service.parts.database.write() as session:
        session.add(batch)
    first, second = service.create(host="192.0.2.7")["id"], service.create(host="192.0.2.8")["id"]
    service.set_runs(first, batch_id=batch.id)
    service.set_runs(second, batch_id=batch.id)
    ends = taken(service)
    assert ends.server.id == first
    failed = Done(ocore.Failure(ocore.ErrorCode.CONNECT_TIMEOUT, "No answer."))
    with ThreadPoolExecutor(1) as pool:
        with service.parts.database.write() as session:
            # A claim of the second run, whose server has turned out to lead to the same machine.
            lock_server(session, second)
            begins = session.exec(select(Run).where(col(Run.server_id) == second)).one()
            assert batching.take_place(session, begins)
            end_of_first = pool.submit(finish, service.parts, ends, RowRecorder(service.parts, ends), failed, "")
            with pytest.raises(TimeoutError):
                end_of_first.result(0.7)
            assert not machines.hold(session, begins.id, [machines.at("192.0.2.7", 22)])
        assert end_of_first.result(10)


@pytest.mark.parametrize("other", [{"port": 2222}, {"host": "192.0.2.8"}], ids=["port", "host"])
def test_another_port_or_host_is_another_machine(service: Service, other: dict[str, Any]) -> None:
    """As long as nothing else says that it is the same."""
    service.create(host="192.0.2.7")
    service.create("two", **({"host": "192.0.2.7"} | other))
    assert take(service) is not None
    assert take(service) is not None


@pytest.mark.parametrize(
    ("known", "also"),
    [({"address": "192.0.2.7"}, {}), ({"shown_key": "SHA256:x"}, {"shown_key": "SHA256:x"})],
    ids=["address", "key"],
)
def test_what_is_known_of_a_machine_counts_before_it_is_reached(
    service: Service, known: dict[str, str], also: dict[str, str]
) -> None:
    """Another name for an address, or another port with the same host key: both are known from an earlier run."""
    first = service.create(host="192.0.2.7")["id"]
    service.set(first, **also)
    second = service.create("two", host="web.example", port=22 if "address" in known else 2222)["id"]
    service.set(second, **known)
    one = taken(service)
    assert take(service) is None
    end(service, one.id)
    assert taken(service).server.id == second


def test_many_servers_at_a_machine_that_is_taken_hold_up_no_other(service: Service) -> None:
    """However many runs of an organization wait for one machine, one for another machine is claimed."""
    service.create("two", host="192.0.2.7")
    taken(service)
    for number in range(10):
        service.set(service.create(host=f"s{number}.example")["id"], address="192.0.2.7")
    other = service.create()["id"]
    assert taken(service).server.id == other
    assert take(service) is None


def test_a_machine_that_turns_out_to_be_taken_is_left_alone(service: Service) -> None:
    """Two names that nobody knows to be one address: the second run is sent back before it logs in, and comes again."""
    transport = Names()
    with service.worker(transport):
        first = service.create(host="a.example")["id"]
        transport.wait()
        orders = len(transport.orders)
        second = service.create("two", host="b.example")["id"]
        wait_for(lambda: server(service, second).address == "192.0.2.99", "it was looked at")
        token = service.token(organization="two")
        wait_for(lambda: message(service, second, "two") == machines.WAITS, "it is back in the queue")
        assert service.call("GET", f"/api/servers/{second}", token=token).json()["status"] == "pending"
        time.sleep(1)
        assert len(transport.orders) == orders
        transport.go.set()
        service.until(first, "active")
        wait_for(
            lambda: service.call("GET", f"/api/servers/{second}", token=token).json()["status"] == "active", "it ran"
        )
        runs = service.call("GET", f"/api/servers/{second}/runs", token=token).json()["runs"]
        receipts = service.call("GET", f"/api/servers/{second}/receipts", token=token).json()["receipts"]
    assert [(run["state"], run["attempt"]) for run in runs] == [("succeeded", 1)]
    # Nothing was done to the machine the first time, so there is nothing to sign.
    assert len(receipts) == 1


def test_a_host_key_that_another_run_holds_stops_a_run(service: Service) -> None:
    """Also where the address is another one; what the run had open is closed, and it pins nothing."""
    service.create(host="192.0.2.7")
    service.create("two", host="192.0.2.8")
    one, other = taken(service), taken(service)
    RowRecorder(service.parts, one).host_key_seen(KEY)
    with pytest.raises(Occupied):
        RowRecorder(service.parts, other).host_key_seen(KEY)
    found = server(service, other.server.id)
    assert (found.host_key, found.shown_key) == (None, KEY.fingerprint)


def test_an_address_in_an_ipv6_coat_is_the_same(service: Service) -> None:
    """An IPv4-mapped address leads to the IPv4 one."""
    service.create(host="192.0.2.7")
    service.create("two", host="web.example")
    taken(service)
    with pytest.raises(Occupied):
        RowRecorder(service.parts, taken(service)).address_found("::ffff:192.0.2.7")


def test_a_lost_run_and_a_removed_server_hold_nothing(service: Service) -> None:
    """A machine is free once the run on it is taken from its worker, or gone."""
    service.create(host="192.0.2.7")
    one = taken(service)
    assert holds(service) == {"at 192.0.2.7 22"}
    service.set_runs(one.server.id, lease_until=one.run.created_at)
    with service.parts.database.write() as session:
        reap(session, one.id, service.settings, service.parts.signer)
    assert holds(service) == set()
    again = taken(service)
    with service.parts.database.write() as session:
        session.delete(session.get(Server, again.server.id))
    assert holds(service) == set()


def test_what_a_run_left_held_is_free_once_it_has_ended(service: Service) -> None:
    """A machine is never lost to a run that gave nothing back."""
    first = service.create(host="192.0.2.7")["id"]
    service.create("two", host="192.0.2.7")
    one = taken(service)
    service.set_runs(first, state=RunState.FAILED, finished_at=now())
    assert holds(service) == {"at 192.0.2.7 22"}
    assert taken(service).id != one.id


def test_a_changed_host_is_known_by_nothing_of_the_old_one(service: Service) -> None:
    """A PUT that moves a server forgets the old machine's address and key."""
    made = service.create(host="192.0.2.7")["id"]
    service.set(made, address="192.0.2.7", shown_key=KEY.fingerprint)
    assert service.call("PUT", f"/api/servers/{made}", json={"host": "192.0.2.8"}).status_code == 200
    assert machines.names(server(service, made)) == ["at 192.0.2.8 22"]


def test_a_reset_host_key_leaves_no_name_of_the_old_machine(service: Service) -> None:
    """The next run holds nothing by a key that somebody else's machine may have."""
    made = service.create(host="web.example")["id"]
    service.set(made, address="192.0.2.7", shown_key=KEY.fingerprint)
    assert service.call("POST", f"/api/servers/{made}/reset-host-key").status_code == 200
    taken(service)
    assert holds(service) == {"at web.example 22"}


def test_a_run_holds_a_machine_by_what_it_has_seen_of_it(service: Service) -> None:
    """Until then also by what was seen before; what is stale is free for whoever has it now."""
    made = service.create(host="web.example")["id"]
    service.set(made, address="192.0.2.7", shown_key="SHA256:old")
    other = service.create("two", host="192.0.2.7")["id"]
    recorder = RowRecorder(service.parts, taken(service))
    assert holds(service) == {"at web.example 22", "at 192.0.2.7 22", "SHA256:old"}
    assert take(service) is None
    recorder.address_found("192.0.2.8")
    assert "SHA256:old" in holds(service)
    recorder.host_key_seen(KEY)
    assert holds(service) == {"at web.example 22", "at 192.0.2.8 22", KEY.fingerprint}
    assert taken(service).server.id == other


@pytest.mark.promise("A15")
def test_many_claimers_never_have_one_machine_twice(service: Service) -> None:
    """Twenty-five servers on five machines, known by host, address or key; eight claim and end as fast as they can."""
    machine_of: dict[str, int] = {}
    for number in range(25):
        machine = number % 5
        how = ({"host": f"192.0.2.{machine}"}, {}, {"port": 2000 + number})[number // 5 % 3]
        made = service.create(f"organization {number}", **how)["id"]
        service.set(made, **({}, {"address": f"192.0.2.{machine}"}, {})[number // 5 % 3], shown_key=f"SHA256:{machine}")
        machine_of[made] = machine
    at_work: list[int] = []
    wrong: list[int] = []
    order: list[str] = []
    guard, begin = threading.Lock(), threading.Barrier(8)

    def work() -> None:
        begin.wait()
        deadline = time.monotonic() + 60
        while len(order) < len(machine_of) and time.monotonic() < deadline:
            one = patiently(deadline, lambda: take(service))
            if one is None:
                time.sleep(0.01)
                continue
            machine = machine_of[one.server.id]
            with guard:
                wrong.extend([machine] if machine in at_work else [])
                at_work.append(machine)
                order.append(one.server.id)
            time.sleep(random.random() / 50)  # noqa: S311 - no secret
            with guard:
                at_work.remove(machine)
            patiently(deadline, partial(end, service, one.id))

    threads = [threading.Thread(target=work) for _ in range(8)]
    run_all(threads)
    assert sorted(order) == sorted(machine_of)
    assert wrong == []
    assert holds(service) == set()


def run_all(threads: Iterable[threading.Thread]) -> None:
    """Start all, and wait for their end."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
