"""Fencing: what is not a run's own any more, it does not write, and what overtakes it wins."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlmodel import col, select

import ocore
from api.data.tables import Event, Run, RunKind, RunState, Server, StepLog
from api.work.claims import Claim, claim
from api.work.execute import carry_out
from api.work.keeper import Active, Keeper
from api.work.outcome import Done, finish
from api.work.owner import new_owner
from api.work.recorder import Fenced, RowRecorder
from api.work.upkeep.sweeper import reap
from tests.service.pausing import Pausing
from tests.service.support import RECORDINGS, recording, wait_for
from tests.unit.keymaker import private_key, public_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.service.support import Service

KEY = ocore.HostKey.parse(public_key("ed25519"))
OTHER = ocore.HostKey.parse(public_key("ecdsa"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPECS = ocore.HardwareSpecs(os_name="Forged", cpu_cores=64)
RESULT = ocore.StepResult("connect", ocore.StepStatus.SUCCESS, "Done.", NOW, NOW, 0)


def say_and_flush(recorder: RowRecorder) -> None:
    """Tell of a task, and have it written."""
    recorder.task_event(ocore.TaskEvent("docker", "Install", "ok", "", NOW))
    recorder.flush()


WRITES: dict[str, Callable[[RowRecorder], None]] = {
    "pin": lambda recorder: recorder.host_key_seen(KEY),
    "step": lambda recorder: recorder.step_started("docker", NOW),
    "end of a step": lambda recorder: recorder.step_finished(RESULT),
    "hardware": lambda recorder: recorder.facts(SPECS),
    "what tasks say": say_and_flush,
}


def taken(service: Service) -> Claim:
    """Create a server, and claim its run."""
    service.create()
    found = claim(service.parts.database, new_owner(), service.settings)
    assert found is not None
    return found


def rows(service: Service) -> list[list[dict[str, Any]]]:
    """Return everything that a run could write to."""
    with service.parts.database.read() as session:
        return [
            [row.model_dump() for row in session.exec(select(table)).all()] for table in (Server, Run, StepLog, Event)
        ]


def change(service: Service, table: type[Server | Run], **columns: Any) -> None:
    """Change the only row of a table behind everybody's back."""
    with service.parts.database.write() as session:
        row = session.exec(select(table)).one()
        for name, value in columns.items():
            setattr(row, name, value)
        session.add(row)


def stored(service: Service, server: str) -> Server:
    """Return a server's row."""
    with service.parts.database.read() as session:
        return session.exec(select(Server).where(col(Server.id) == server)).one()


@pytest.mark.promise("F4")
@pytest.mark.parametrize("loss", [{"fence": 2}, {"state": RunState.QUEUED}], ids=["fence", "state"])
def test_who_lost_a_run_writes_nothing(service: Service, loss: dict[str, Any]) -> None:
    """After the fence was raised, or the run was taken back, every write is refused and no row has changed."""
    found = taken(service)
    change(service, Run, **loss)
    before = rows(service)
    for what, write in WRITES.items():
        with pytest.raises(Fenced):
            write(RowRecorder(service.parts, found))
        assert rows(service) == before, what


def test_who_lost_a_run_does_not_end_it(service: Service) -> None:
    """The end of a run that went to another worker is not written."""
    found = taken(service)
    change(service, Run, fence=found.run.fence + 1)
    before = rows(service)
    assert not finish(service.parts, found, RowRecorder(service.parts, found), Done(), "")
    assert rows(service) == before


def test_who_still_holds_a_run_writes(service: Service) -> None:
    """The same writes are kept while the run is ours: what refuses them above is the fence."""
    found = taken(service)
    recorder = RowRecorder(service.parts, found)
    for write in WRITES.values():
        write(recorder)
    server = stored(service, found.server.id)
    assert (server.host_key, server.os_name, server.provisioning_step) == (str(KEY), "Forged", "docker")


def test_a_run_whose_lease_was_taken_is_stopped(service: Service) -> None:
    """The worker sees it within seconds, ends the process, and writes nothing of its end."""
    made = service.create()
    transport = Pausing()
    with service.worker(transport) as worker:
        transport.wait()
        with service.parts.database.write() as session:
            run = session.exec(select(Run).where(col(Run.server_id) == made["id"])).one()
            run.fence, run.lease_owner = run.fence + 1, "elsewhere/1/1/1"
            session.add(run)
            events = len(session.exec(select(Event)).all())
        wait_for(lambda: not worker._keeper.active, "the run is stopped", 5)  # noqa: SLF001 - what it does now
        [row] = service.runs(made["id"])
        assert row["state"] == "running"
        with service.parts.database.read() as session:
            assert len(session.exec(select(Event)).all()) == events


@pytest.mark.promise("F24")
def test_a_changed_connection_overtakes_the_run_that_goes_on(service: Service) -> None:
    """PUT ends it as cancelled; what it saw is not kept; the run for the new connection makes the server active."""
    made = service.create()
    transport = Pausing(after=60)
    with service.worker(transport):
        transport.wait()
        before = stored(service, made["id"])
        assert service.call("PUT", f"/api/servers/{made['id']}", json={"sshUser": "admin"}).status_code == 200
        transport.after = -1
        service.until(made["id"], "active")
    newer, older = service.runs(made["id"])
    assert (newer["state"], older["state"]) == ("succeeded", "cancelled")
    assert "connection was changed" in older["message"]
    assert newer["id"] > older["id"]
    assert stored(service, made["id"]).generation == before.generation + 1


def test_what_an_overtaken_run_finds_does_not_touch_the_server(service: Service) -> None:
    """Its steps are logged, but the server shows neither its step, nor its hardware, nor its end, nor its key."""
    found = taken(service)
    recorder = RowRecorder(service.parts, found)
    recorder.step_started("connect", NOW)
    assert service.call("PUT", f"/api/servers/{found.server.id}", json={"port": 2222}).status_code == 200
    before = stored(service, found.server.id)
    recorder.step_finished(RESULT)
    recorder.step_started("detect", NOW)
    recorder.facts(SPECS)
    finish(service.parts, found, recorder, Done(ocore.Failure(ocore.ErrorCode.MEMORY_LOW, "Too little.")), "")
    assert stored(service, found.server.id) == before
    assert [one["state"] for one in service.runs(found.server.id)] == ["queued", "failed"]


def test_an_overtaken_run_is_remembered_to_have_changed_the_server(service: Service) -> None:
    """A step that changes things marks the server for a clean-up, though its run counts no more."""
    found = taken(service)
    recorder = RowRecorder(service.parts, found)
    service.call("PUT", f"/api/servers/{found.server.id}", json={"sshUser": "admin"})
    recorder.step_started("docker", NOW)
    server = stored(service, found.server.id)
    assert (server.touched, server.status, server.provisioning_step) == (True, "pending", "")


def test_a_run_that_is_overtaken_before_it_pins_ends_at_once(service: Service) -> None:
    """It goes no further than the host key, ends as cancelled, and its successor need not wait for its lease."""
    found = taken(service)
    service.call("PUT", f"/api/servers/{found.server.id}", json={"host": "192.0.2.200"})
    recorder, transport = RowRecorder(service.parts, found), recording("bare")
    done = carry_out(service.parts, found, recorder, threading.Event(), transport)
    assert done is not None
    assert done.cancelled
    assert not transport.orders
    finish(service.parts, found, recorder, done, "")
    assert [one["state"] for one in service.runs(found.server.id)] == ["queued", "cancelled"]
    assert stored(service, found.server.id).host_key is None
    assert claim(service.parts.database, new_owner(), service.settings) is not None


@pytest.mark.promise("F24")
def test_a_removal_overtakes_the_run_that_goes_on(service: Service) -> None:
    """DELETE stops it, and the server is gone."""
    made = service.create()
    transport = Pausing()
    with service.worker(transport):
        transport.wait()
        began = time.monotonic()
        assert service.call("DELETE", f"/api/servers/{made['id']}").status_code == 202
        transport.after = -1
        wait_for(lambda: service.call("GET", f"/api/servers/{made['id']}").status_code == 404, "it is gone")
        assert time.monotonic() - began < 10
    with service.parts.database.read() as session:
        assert not session.exec(select(Run)).all()
        assert not session.exec(select(StepLog)).all()


@pytest.mark.promise("F19")
def test_a_run_that_began_before_a_reset_cannot_pin_again(service: Service) -> None:
    """Its key is not pinned, and the fingerprint that is expected now is still expected."""
    found = taken(service)
    body = {"expectedFingerprint": OTHER.fingerprint}
    assert service.call("POST", f"/api/servers/{found.server.id}/reset-host-key", json=body).status_code == 200
    RowRecorder(service.parts, found).host_key_seen(KEY)
    server = stored(service, found.server.id)
    assert (server.host_key, server.expected_fingerprint) == (None, OTHER.fingerprint)


@pytest.mark.promise("F19")
def test_a_reset_holds_to_the_end_of_the_run_that_goes_on(service: Service) -> None:
    """A run that pinned before the reset ends well, and the server has no pin."""
    made = service.create()
    transport = Pausing()
    with service.worker(transport):
        transport.wait()
        assert service.get(made["id"])["hostKeyFingerprint"]
        service.call("POST", f"/api/servers/{made['id']}/reset-host-key")
        transport.go.set()
        assert service.until(made["id"], "active")["hostKeyFingerprint"] is None


def test_the_first_key_that_is_pinned_stays(service: Service) -> None:
    """Who saw the same key goes on; who saw another one stops, and the pin is what it was."""
    found = taken(service)
    RowRecorder(service.parts, found).host_key_seen(KEY)
    RowRecorder(service.parts, found).host_key_seen(KEY)
    with pytest.raises(Fenced):
        RowRecorder(service.parts, found).host_key_seen(OTHER)
    assert stored(service, found.server.id).host_key == str(KEY)


@pytest.mark.promise("F18")
def test_two_first_looks_pin_one_key(service: Service) -> None:
    """Of two that see different keys at the same time one is kept and the other one stops."""
    found = taken(service)
    begin, stopped = threading.Barrier(2), []

    def look(key: ocore.HostKey) -> None:
        recorder = RowRecorder(service.parts, found)
        begin.wait()
        try:
            recorder.host_key_seen(key)
        except Fenced:
            stopped.append(str(key))

    threads = [threading.Thread(target=look, args=(key,)) for key in (KEY, OTHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [stored(service, found.server.id).host_key, *stopped] in (
        [str(KEY), str(OTHER)],
        [str(OTHER), str(KEY)],
    )


@pytest.mark.promise("F4")
def test_a_worker_that_comes_back_late_finds_its_run_with_another(service: Service) -> None:
    """A run that was reaped and claimed again is written by its new holder alone."""
    found = taken(service)
    late = RowRecorder(service.parts, found)
    late.step_started("connect", NOW)
    change(service, Run, lease_owner="gone", lease_until=NOW)
    with service.parts.database.write() as session:
        reap(session, found.id, service.settings, service.parts.signer)
    again = claim(service.parts.database, new_owner(), service.settings)
    assert again is not None
    assert again.run.fence > found.run.fence
    RowRecorder(service.parts, again).step_started("privileges", NOW)
    with pytest.raises(Fenced):
        late.step_finished(RESULT)
    with service.parts.database.read() as session:
        steps = session.exec(select(StepLog).order_by(col(StepLog.id))).all()
    assert [(one.step, one.status) for one in steps] == [("connect", "failed"), ("privileges", "running")]


@pytest.mark.promise("F4")
def test_who_takes_its_own_lost_run_again_keeps_it_when_the_lost_attempt_ends(service: Service) -> None:
    """A process was stopped for long: one of its slots has the run again while another still ends the old attempt."""
    service.create()
    owner = new_owner()
    keeper, attempts = Keeper(service.parts, owner), []
    for _ in range(2):
        found = claim(service.parts.database, owner, service.settings)
        assert found is not None
        attempts.append(Active(found, RowRecorder(service.parts, found)))
        keeper.add(attempts[-1])
        change(service, Run, lease_until=NOW)
        if len(attempts) == 1:
            with service.parts.database.write() as session:
                reap(session, found.id, service.settings, service.parts.signer)
    late, again = attempts
    keeper.drop(late)
    assert keeper.active == [again]
    keeper.start()
    try:
        wait_for(lambda: _lease(service) > NOW, "its lease is extended")
    finally:
        keeper.stop()
    assert not again.cancel.is_set()


def _lease(service: Service) -> datetime:
    with service.parts.database.read() as session:
        until = session.exec(select(Run.lease_until)).one()
    assert until is not None
    return until


def test_a_new_key_overtakes_a_run_too(service: Service) -> None:
    """A credential that is sent counts as a new connection, also where it is the same."""
    made = service.create()
    lines = (RECORDINGS / "bare.jsonl").read_text(encoding="utf-8").splitlines()
    endless = ocore.testing.ReplayTransport(lines[:80], hang=True, own_keys=True)
    with service.worker(endless):
        wait_for(lambda: service.get(made["id"])["provisioningStep"] == "docker", "it goes on")
        service.call("PUT", f"/api/servers/{made['id']}", json={"sshPrivateKey": private_key("ed25519")})
        wait_for(lambda: len([one for one in service.runs(made["id"]) if one["startedAt"]]) == 2, "the next one runs")
        assert service.runs(made["id"])[1]["state"] == "cancelled"


def test_a_worker_that_comes_back_late_makes_no_token(service: Service) -> None:
    """A forced run makes a token for the agent; who has lost it before leaves its new holder's token as it is."""
    service.parts = replace(
        service.parts, settings=service.settings.model_copy(update={"agent_url": "https://ocore.example.org"})
    )
    made = service.create()
    service.set_runs(made["id"], kind=RunKind.PROVISION, force=True)
    late = claim(service.parts.database, new_owner(), service.settings)
    assert late is not None
    change(service, Run, lease_owner="gone", lease_until=NOW)
    with service.parts.database.write() as session:
        reap(session, late.id, service.settings, service.parts.signer)
    with service.worker():
        service.until(made["id"], "active")
    before = stored(service, made["id"]).agent_token_hash
    assert before is not None
    transport = recording("bare")
    assert carry_out(service.parts, late, RowRecorder(service.parts, late), threading.Event(), transport) is None
    assert stored(service, made["id"]).agent_token_hash == before
    assert transport.orders == []
