"""What falls down is picked up: lost rings, lost workers, a lost queue; and what is old is let go."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis
from sqlalchemy import func
from sqlalchemy.event import listen
from sqlmodel import SQLModel, select

from api.data.database import clock
from api.data.tables import (
    Answer,
    AuditEntry,
    Batch,
    Delivery,
    Event,
    Lead,
    RevokedToken,
    Run,
    RunKind,
    RunState,
    Server,
    StepLog,
    Webhook,
    now,
)
from api.data.tables import Session as Slot
from api.parts import RECEIPT, keyring
from api.work.claims import Claim, claim
from api.work.owner import is_dead, new_owner
from api.work.recorder import RowRecorder
from api.work.storages import FILE, PREFIX
from api.work.upkeep import sweeper
from api.work.upkeep.sweeper import Sweeper
from api.work.upkeep.tidier import tidy
from ocore.testing import ReplayTransport
from tests.service.pausing import Pausing
from tests.service.storages import Redis
from tests.service.support import RECORDINGS, opened, recording, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from api.settings import Settings
    from tests.service.support import Service

ELSEWHERE = "another-machine/1/1/1"
OURSELVES = new_owner()
PAST = timedelta(hours=1)


def dead_owner() -> str:
    """Return a name of a process of this machine that has ended; its number is another one's by now."""
    machine, number, *_ = new_owner().split("/")
    return f"{machine}/{number}/0/dead"


def lose(service: Service, owner: str, *, attempt: int = 1, **columns: Any) -> Claim:
    """Let a worker begin the only run that waits, open a step, and fall silent."""
    taken = claim(service.parts.database, owner, service.settings)
    assert taken is not None
    RowRecorder(service.parts, taken).step_started("docker", now())
    service.set_runs(taken.server.id, attempt=attempt, **columns)
    return taken


def sweep(service: Service) -> None:
    """Look once."""
    Sweeper(service.parts, OURSELVES).sweep()


def only(service: Service, table: type[SQLModel]) -> Any:
    """Return the only row of a table."""
    with service.parts.database.read() as session:
        return session.exec(select(table)).one()


def count(service: Service, table: type[SQLModel]) -> int:
    """Return how many rows a table has."""
    with service.parts.database.read() as session:
        return session.exec(select(func.count()).select_from(table)).one()


def ring(service: Service, times: int = 1) -> None:
    """Ring the bell."""
    for _ in range(times):
        service.parts.bell.ring()


def wipe(service: Service) -> None:
    """Take the queue's storage away."""
    if service.settings.queue_url.startswith("postgresql"):
        with psycopg.connect(service.settings.queue_url) as connection:
            connection.execute(f"TRUNCATE {PREFIX}_task")  # type: ignore[arg-type]
    elif service.settings.queue_url:
        with redis.Redis.from_url(service.settings.queue_url) as client:
            for key in client.scan_iter("huey.*"):
                client.delete(key)
    else:
        for file in service.settings.home.glob(f"{FILE}*"):
            file.unlink()


# --- rings ------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("F8")
def test_a_ring_that_was_lost_is_rung_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that nobody was told of begins within two sweeps."""
    with service.worker():
        with monkeypatch.context() as patch:
            patch.setattr(service.parts.bell, "ring", lambda: None)
            made = service.create()
        began = time.monotonic()
        service.until(made["id"], "active", 10)
    print(f"lost ring: active after {time.monotonic() - began:.1f} s")  # noqa: T201 - a figure for the report


@pytest.mark.promise("F7")
def test_fifty_rings_are_one_claim(service: Service) -> None:
    """A run is begun once, however often the bell rings, before and while it goes on."""
    made = service.create()
    transport = Pausing()
    ring(service, 25)
    with service.worker(transport):
        transport.wait()
        ring(service, 25)
        time.sleep(1)
        assert transport.started == 1
        transport.go.set()
        service.until(made["id"], "active")
        wait_for(lambda: service.parts.bell.waiting() == 0, "every ring is heard")
    assert transport.started == 1
    [run] = service.runs(made["id"])
    assert run["attempt"] == 1


def test_the_sweeper_does_not_ring_where_nothing_may_start(service: Service) -> None:
    """No ring for an empty queue, nor for a run behind another one of its server; no more rings than slots."""
    sweep(service)
    assert service.parts.bell.waiting() == 0
    for _ in range(service.settings.workers + 2):
        service.create()
    wipe(service)
    for _ in range(3):
        sweep(service)
        assert service.parts.bell.waiting() == service.settings.workers


# --- workers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "columns"),
    [(ELSEWHERE, {"lease_until": now() - PAST}), (dead_owner(), {})],
    ids=["lease over", "dead process here"],
)
def test_a_run_whose_worker_is_lost_goes_back_to_the_queue(
    service: Service, owner: str, columns: dict[str, Any]
) -> None:
    """Its open step is closed, its connection is free, its fence is raised, and the attempt was one."""
    service.create()
    taken = lose(service, owner, **columns)
    sweep(service)
    run, step = only(service, Run), only(service, StepLog)
    assert (run.state, run.attempt, run.lease_owner, run.lease_until) == (RunState.QUEUED, 1, "", None)
    assert run.fence > taken.run.fence
    assert (step.status, step.message) == ("failed", "Interrupted: its worker was lost.")
    assert step.completed_at is not None
    assert count(service, Slot) == 0
    assert service.get(taken.server.id)["status"] == "pending"


def test_who_is_only_slow_keeps_its_run(service: Service) -> None:
    """A worker on another machine whose lease is not over is left alone; so is a living one here."""
    service.create()
    for owner in (ELSEWHERE, new_owner()):
        taken = lose(service, owner)
        sweep(service)
        assert only(service, Run).fence == taken.run.fence
        service.set_runs(taken.server.id, state=RunState.QUEUED)
        with service.parts.database.write() as session:
            session.delete(session.exec(select(Slot)).one())


def test_dead_is_only_who_is_known_to_be(service: Service) -> None:
    """A process that ended here, or whose number another one has, is dead; one of another machine may live."""
    assert service
    assert is_dead(dead_owner())
    machine = new_owner().split("/")[0]
    assert is_dead(f"{machine}/4194305/1/x")
    assert not is_dead(new_owner())
    assert not is_dead(ELSEWHERE)
    assert not is_dead("")


@pytest.mark.promise("F9")
def test_a_lost_run_is_finished_by_another_worker(service: Service) -> None:
    """At its start a worker takes over at once what a dead process of its machine left behind."""
    made = service.create()
    lose(service, dead_owner())
    began = time.monotonic()
    with service.worker():
        service.until(made["id"], "active", 10)
    print(f"dead process here: active after {time.monotonic() - began:.1f} s")  # noqa: T201 - a figure for the report
    [run] = service.runs(made["id"])
    assert (run["state"], run["attempt"]) == ("succeeded", 2)


def test_the_sweeper_of_a_dead_process_is_followed_at_once(service: Service) -> None:
    """Nobody waits for the end of a dead leader's time."""
    made = service.create()
    lose(service, dead_owner())
    with service.parts.database.write() as session:
        session.add(Lead(name="sweeper", owner=dead_owner(), until=now() + PAST))
    with service.worker():
        service.until(made["id"], "active", 10)


def test_only_one_sweeper_reaps(service: Service) -> None:
    """While another process leads, this one only rings."""
    service.create()
    lose(service, dead_owner())
    with service.parts.database.write() as session:
        session.add(Lead(name="sweeper", owner=ELSEWHERE, until=now() + timedelta(seconds=1)))
    sweep(service)
    assert only(service, Run).state == RunState.RUNNING


@pytest.mark.promise("F27")
def test_what_was_leased_before_a_clock_was_set_back_waits_for_no_hour(service: Service) -> None:
    """Neither the run nor the lead of a process elsewhere that died before: nobody extends them by the new time."""
    service.create()
    lose(service, ELSEWHERE, lease_until=now() + PAST)
    with service.parts.database.write() as session:
        session.add(Lead(name="sweeper", owner=ELSEWHERE, until=now() + PAST))
    sweep(service)
    assert only(service, Run).state == RunState.QUEUED


@pytest.mark.promise("F27")
@pytest.mark.parametrize("jump", [PAST, -PAST], ids=["forth", "back"])
def test_a_clock_that_jumps_in_the_middle_of_a_sweep_costs_no_run(
    service: Service, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    """The reading that leases are held against is one that was looked at for a jump."""
    service.create()
    lose(service, ELSEWHERE)
    ahead = [timedelta()]
    monkeypatch.setattr(sweeper, "clock", lambda session: clock(session) + ahead[0])

    def leads(*_: object) -> bool:
        ahead[0] = jump
        return True

    monkeypatch.setattr(sweeper, "leads", leads)
    sweep(service)
    assert only(service, Run).state == RunState.RUNNING


def test_a_run_that_loses_every_worker_fails(service: Service) -> None:
    """After the last attempt it is not tried again: worker_lost, with the server in error, and it can be retried."""
    made = service.create()
    lose(service, dead_owner(), attempt=service.settings.max_attempts)
    sweep(service)
    [run] = service.runs(made["id"])
    assert (run["state"], run["errorCode"]) == ("failed", "worker_lost")
    found = service.get(made["id"])
    assert found["status"] == "error"
    assert "worker" in found["statusMessage"]
    with service.worker():
        assert service.call("POST", f"/api/servers/{made['id']}/retry").status_code == 200
        service.until(made["id"], "active")


def test_a_cleanup_that_loses_every_worker_lets_the_server_go(service: Service) -> None:
    """No server stays for ever because it could not be cleaned up."""
    made = service.create()
    service.set(made["id"], touched=True)
    service.call("DELETE", f"/api/servers/{made['id']}")
    assert service.runs(made["id"])[0]["kind"] == RunKind.CLEANUP
    for attempt in range(1, service.settings.max_attempts + 1):
        assert service.get(made["id"])["status"] == "removing"
        taken = claim(service.parts.database, dead_owner(), service.settings)
        assert taken is not None
        assert taken.run.attempt == attempt
        sweep(service)
    assert service.call("GET", f"/api/servers/{made['id']}").status_code == 404
    assert [count(service, table) for table in (Server, Run, Event, Slot)] == [0, 0, 0, 0]


def test_a_lost_run_that_was_to_end_ends(service: Service) -> None:
    """A run that somebody wanted to stop is not begun again."""
    made = service.create()
    lose(service, dead_owner(), cancel_reason="cancelled")
    sweep(service)
    [run] = service.runs(made["id"])
    assert run["state"] == "cancelled"
    assert service.get(made["id"])["status"] == "error"


def test_a_lost_run_makes_way_for_a_newer_one(service: Service) -> None:
    """A run that was overtaken before its worker was lost ends, and the newer one makes the server active."""
    made = service.create()
    lose(service, dead_owner())
    service.call("PUT", f"/api/servers/{made['id']}", json={"sshUser": "admin"})
    with service.worker():
        service.until(made["id"], "active")
    assert [one["state"] for one in service.runs(made["id"])] == ["succeeded", "cancelled"]


@pytest.mark.promise("F5")
def test_a_worker_that_cannot_keep_its_leases_stops_by_itself(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own clock, all of its runs, and before the leases end, though its question to the database never returns.

    What takes the runs over finds nothing of them at work.
    """
    made = [service.create()["id"] for _ in range(3)]
    over = threading.Event()
    lines = (RECORDINGS / "bare.jsonl").read_text(encoding="utf-8").splitlines()
    with service.worker(ReplayTransport(lines[:80], hang=True, own_keys=True)) as worker:
        keeper = worker._keeper  # noqa: SLF001 - what it does now
        wait_for(lambda: len(keeper.active) == len(made), "all run")
        monkeypatch.setattr(keeper, "_extend", lambda *_: over.wait(60))  # a database that does not answer
        runs = keeper.active
        try:
            wait_for(lambda: {one.reason for one in runs} == {"lost"}, "all stop", service.settings.lease_seconds)
            wait_for(lambda: not keeper.active, "all are stopped", 5)
            assert {service.runs(one)[0]["state"] for one in made} == {"running"}
        finally:
            over.set()


def test_one_run_that_cannot_be_reaped_holds_up_nothing(service: Service) -> None:
    """The other lost runs go back to the queue, what may start is rung for, and it is tried again at each sweep."""
    for _ in range(3):
        service.create()
    lost = [lose(service, dead_owner()) for _ in range(3)]
    wipe(service)
    stuck = {lost[0].id}
    service.refuse(lambda one: isinstance(one, Run) and one.id in stuck)
    sweep(service)

    def states() -> list[str]:
        with service.parts.database.read() as session:
            found = {run.id: run.state for run in session.exec(select(Run)).all()}
        return [found[one.id] for one in lost]

    assert states() == [RunState.RUNNING, RunState.QUEUED, RunState.QUEUED]
    assert service.parts.bell.waiting() == 2
    stuck.clear()
    sweep(service)
    assert states() == [RunState.QUEUED] * 3


def test_a_lost_run_is_reaped_while_the_keys_of_receipts_cannot_be_read(service: Service) -> None:
    """Also by a process that has signed nothing yet: it has read them when it began."""
    service.create()
    lose(service, dead_owner())
    keyring(service.settings, RECEIPT).file.unlink()
    sweep(service)
    assert only(service, Run).state == RunState.QUEUED


# --- the queue's storage ----------------------------------------------------------------------------------------------


@pytest.mark.promise("F6")
def test_a_wiped_queue_loses_nothing(service: Service) -> None:
    """The queue's storage is taken away while runs wait and go on: all of them end, and new ones too."""
    transport = Pausing()
    with service.worker(transport):
        made = [service.create() for _ in range(8)]
        transport.wait()
        wipe(service)
        transport.go.set()
        began = time.monotonic()
        made.append(service.create())
        for one in made:
            service.until(one["id"], "active")
    print(f"wiped queue: {len(made)} active after {time.monotonic() - began:.1f} s")  # noqa: T201 - a figure
    assert {one["attempt"] for server in made for one in service.runs(server["id"])} == {1}


@pytest.mark.promise("F6")
@pytest.mark.parametrize("storage", ["sqlite"])
def test_a_queue_without_its_file_alone_loses_nothing(service: Service) -> None:
    """What SQLite keeps beside a file that is gone does not stop the next one."""
    with service.worker():
        (service.settings.home / FILE).unlink()
        for _ in range(3):
            service.until(service.create()["id"], "active")


@pytest.mark.promise("F6")
@pytest.mark.parametrize("storage", ["postgres"])
def test_a_redis_that_is_away_loses_nothing(settings: Settings, tmp_path: Path) -> None:
    """While Redis is stopped requests are answered, soon and with 201; all runs end once it is back, and empty."""
    queue = Redis(tmp_path)
    try:
        with opened(settings.model_copy(update={"queue_url": queue.url})) as service, service.worker():
            service.until(service.create()["id"], "active")
            queue.stop()
            back = threading.Timer(2, queue.start)
            back.start()
            began, made, slowest = time.monotonic(), [], 0.0
            while time.monotonic() - began < 2:
                asked = time.monotonic()
                made.append(service.create())
                slowest = max(slowest, time.monotonic() - asked)
                time.sleep(0.2)
            back.join()
            with redis.Redis(port=queue.port) as client:
                client.flushall()
            for one in made:
                service.until(one["id"], "active")
        print(f"Redis away: {len(made)} accepted, the slowest in {slowest:.2f} s")  # noqa: T201 - a figure
        assert slowest < 5
    finally:
        queue.stop()


# --- what is old ------------------------------------------------------------------------------------------------------


def test_what_is_older_than_the_settings_say_goes(service: Service) -> None:
    """Events, then logs and runs, answers and revoked tokens go when their time is over; the younger ones stay."""
    made = service.create()
    with service.worker():
        service.until(made["id"], "active")
    events, logs = count(service, Event), count(service, StepLog)
    headers = {"Idempotency-Key": "a-key"}
    assert service.call("POST", "/api/servers", json=service.body(), headers=headers).status_code == 201
    with service.parts.database.write() as session:
        for number, ends in enumerate((now() - PAST, now() + PAST)):
            session.add(RevokedToken(id=str(number), expires_at=ends))
    tidy(service.parts)
    assert (count(service, Event), count(service, StepLog), count(service, Answer)) == (events, logs, 1)
    assert only(service, RevokedToken).id == "1"

    age(service, Event, "at", timedelta(days=service.settings.events_days))
    age(service, Answer, "created_at", timedelta(hours=service.settings.idempotency_hours))
    tidy(service.parts)
    assert (count(service, Event), count(service, StepLog), count(service, Answer)) == (0, logs, 0)
    assert len(service.runs(made["id"])) == 1

    age(service, StepLog, "completed_at", timedelta(days=service.settings.logs_days))
    age(service, Run, "finished_at", timedelta(days=service.settings.logs_days))
    tidy(service.parts)
    assert count(service, StepLog) == 0
    assert service.runs(made["id"]) == []
    assert service.get(made["id"])["status"] == "active"


def test_what_a_run_said_stays_while_it_goes_on(service: Service) -> None:
    """However old its first events are, their numbers have no holes while somebody may follow it."""
    service.create()
    lose(service, new_owner())
    age(service, Event, "at", timedelta(days=service.settings.events_days))
    before = count(service, Event)
    tidy(service.parts)
    assert count(service, Event) == before > 0


def age(service: Service, table: type[SQLModel], column: str, by: timedelta) -> None:
    """Make all rows of a table older than a time."""
    with service.parts.database.write() as session:
        for row in session.exec(select(table)).all():
            if getattr(row, column) is not None:
                setattr(row, column, now() - by - PAST)
                session.add(row)


def test_what_is_old_goes_in_short_transactions(service: Service) -> None:
    """However much it is: nobody else writes to SQLite meanwhile."""
    organization, then = service.organization(), now() - timedelta(days=800)
    mine: dict[str, Any] = {"organization_id": organization}
    with service.parts.database.write() as session:
        for number in range(1100):
            name = str(number)
            session.add(Answer(key=name, fingerprint="", created_at=then, **mine))
            session.add(Batch(kind="drift", max_concurrent=1, created_at=then, **mine))
            session.add(
                AuditEntry(at=then, actor_kind="token", actor="x", action="x", object_kind="x", object_id=name, **mine)
            )
            session.add(RevokedToken(id=name, expires_at=then))
        hook = Webhook(url="", sealed_secret=b"", **mine)
        session.add(hook)
        session.flush()
        for name in map(str, range(1100)):
            session.add(Delivery(webhook_id=hook.id, message_id=name, event="x", body="", created_at=then))
    gone: list[int] = []
    listen(
        service.parts.database.engine,
        "after_cursor_execute",
        lambda _, cursor, statement, *__: gone.append(cursor.rowcount) if statement.startswith("DELETE") else None,
    )
    tidy(service.parts)
    assert [count(service, table) for table in (Answer, Batch, AuditEntry, RevokedToken, Delivery)] == [0] * 5
    assert sum(gone) >= 5 * 1100
    assert max(gone) <= 500


@pytest.mark.parametrize("storage", ["postgres"])
def test_what_is_lost_does_not_wait_for_what_is_old(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a row that is to go cannot, a lost ring is rung again."""
    with service.parts.database.write() as session:
        session.add(RevokedToken(id="old", expires_at=now() - PAST))
    with ExitStack() as stack:
        held = stack.enter_context(ExitStack())
        session = held.enter_context(service.parts.database.write())
        session.exec(select(RevokedToken).with_for_update()).one()
        stack.enter_context(service.worker())
        time.sleep(1)
        with monkeypatch.context() as patch:
            patch.setattr(service.parts.bell, "ring", lambda: None)
            made = service.create()
        service.until(made["id"], "active", 5)
        assert count(service, RevokedToken) == 1
        held.close()
        wait_for(lambda: count(service, RevokedToken) == 0, "it is gone")


def test_a_worker_tidies(service: Service) -> None:
    """Retention needs no other program: it is done when a worker begins."""
    with service.parts.database.write() as session:
        session.add(RevokedToken(id="old", expires_at=now() - PAST))
    with service.worker(recording("bare")):
        wait_for(lambda: count(service, RevokedToken) == 0, "it is gone", 5)
