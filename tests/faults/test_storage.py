"""The database goes away, is locked, or its disk is full, under real processes: what was accepted is made."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from api.parts import RINGS, keyring
from api.settings import Settings
from api.work.keeper import LOST
from tests.faults import wholeness
from tests.faults.asking import Crowd
from tests.faults.played import Played, create, only_run
from tests.service.conftest import QUICK
from tests.service.pausing import Pausing
from tests.service.support import opened, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.e2e.served import Client
    from tests.service.storages import Postgres
    from tests.service.support import Service

    Broken = Callable[[], AbstractContextManager[None]]
    Play = Callable[..., AbstractContextManager[Played]]
    Record = Callable[[str, object], None]

# Run by `./dev faults`: the whole of them takes longer than everybody's tests may.
pytestmark = pytest.mark.slow

# The longest that anybody waits for an answer while the database does not answer: the patience for a lock or a
# connection, twice (who asks is looked up first), on a busy machine.
ANSWERED = 25.0
# A lease of ten seconds is over, and the run whose lease it is has stopped by itself before.
LEASE = 10.0
FENCED = "a lease could not be extended"
# What a client waits for anyway.
SOON = 10.0
LOCKED = 30.0


def _begun(client: Client, host: str) -> str:
    """Create a server whose run goes on; return its id."""
    server = create(client, host)
    wait_for(lambda: only_run(client, server)["state"] == "running", "its run goes on", 60)
    time.sleep(1)
    return server


def _check(crowd: Crowd, began: float, record: Record) -> None:
    """Check what the crowd was answered since something broke, and that it is answered well again by now."""
    bad = [one for one in crowd.answers if not one.allowed]
    assert not bad, bad[:3]
    refused = [one for one in crowd.since(began - ANSWERED) if one.status == 503]
    assert refused, (
        f"nobody was told to come again; the slowest waited {max(one.seconds for one in crowd.answers):.1f} s"
    )
    slowest = max(one.seconds for one in crowd.answers)
    assert slowest < ANSWERED, slowest
    record("slowest answer", round(slowest, 2))
    record("refused", len(refused))


def _goes_on(crowd: Crowd, back: float, record: Record) -> None:
    """Wait until all kinds of requests are answered well again."""
    wait_for(lambda: crowd.recovered(back) is not None, "requests are answered well again", 60)
    record("recovery", round(crowd.recovered(back) or 0.0, 2))


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold an SQLite database for oneself."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield
        holder.execute("ROLLBACK")


@contextlib.contextmanager
def _away(postgres: Postgres) -> Iterator[None]:
    """Have a PostgreSQL stopped in the midst of what it does, and started again."""
    postgres.stop(signal.SIGQUIT)
    yield
    postgres.start()


@pytest.fixture
def broken(storage: str, request: pytest.FixtureRequest) -> Iterator[tuple[Service, Broken]]:
    """Return a service, and what breaks its database for the time of a block."""
    if storage == "sqlite":
        found = request.getfixturevalue("service")
        yield found, lambda: _locked(found.settings.home / "ocore.db")
        return
    postgres = request.getfixturevalue("postgres")
    home = request.getfixturevalue("tmp_path") / "home"
    made = Settings(**QUICK, home=home, database_url=postgres.url, queue_url=postgres.url)
    for ring in RINGS:
        keyring(made, ring).create()
    with opened(made) as service:
        yield service, lambda: _away(postgres)


@pytest.mark.promise("F5")
def test_nobody_waits_long_for_a_database(broken: tuple[Service, Broken], record_property: Record) -> None:
    """A request is told to come again, within seconds, and has left nothing; then it is carried out as if new."""
    service, breaking = broken
    body, headers, token = service.body(), {"Idempotency-Key": "one"}, service.token()
    with breaking():
        began = time.monotonic()
        answer = service.call("POST", "/api/servers", token=token, json=body, headers=headers)
        assert time.monotonic() - began < SOON
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["code"] == "unavailable"
    began = time.monotonic()
    assert service.call("GET", "/api/servers").json() == {"servers": []}
    assert service.call("POST", "/api/servers", json=body, headers=headers).status_code == 201
    record_property("recovery", round(time.monotonic() - began, 2))


@pytest.mark.promise("F5")
def test_a_run_that_cannot_write_has_ended_before_its_lease(broken: tuple[Service, Broken]) -> None:
    """Also where it began to wait for the database just before it is to stop: then another worker makes it.

    While a run waits to write what it has found, it looks at nothing else.
    """
    service, breaking = broken
    made = service.create()["id"]
    transport = Pausing()
    with service.worker(transport) as worker:
        transport.wait()
        [active] = worker._keeper.active  # noqa: SLF001 - what it does now
        with breaking():
            time.sleep(service.settings.lease_seconds / 2)
            transport.go.set()
            left = active.kept_at + service.settings.lease_seconds - time.monotonic()
            wait_for(lambda: active not in worker._keeper.active, "it is stopped", left)  # noqa: SLF001
            assert active.reason == LOST
        service.until(made, "active")
    [run] = service.runs(made)
    assert (run["state"], run["attempt"]) == ("succeeded", 2)


@pytest.mark.promise("F5")
@pytest.mark.parametrize(
    ("away", "host"),
    [(3.0, "takes-8-1.example"), (LEASE * 1.5, "takes-40-1.example")],
    ids=["shorter than a lease", "longer than a lease"],
)
def test_a_postgresql_that_is_stopped_at_once_comes_back(
    postgres: Postgres, tmp_path: Path, away: float, host: str, record_property: Record
) -> None:
    """Requests are told to come again, soon; a run whose lease is not over goes on, another one fences itself.

    The queue is in the same database.
    """
    storage = {"OCORE_DATABASE_URL": postgres.url, "OCORE_QUEUE_URL": postgres.url}
    with Played(tmp_path, storage) as served:
        served.start("api", "worker")
        client = served.client()
        server = _begun(client, host)
        with Crowd(client, server) as crowd:
            time.sleep(1)
            began = time.monotonic()
            postgres.stop(signal.SIGQUIT)
            time.sleep(away)
            postgres.start()
            back = time.monotonic()
            _goes_on(crowd, back, record_property)
        _check(crowd, began, record_property)
        client.until(server, "active")
        longer = away > LEASE
        assert (FENCED in served.running[1].said()) == longer
        assert only_run(client, server)["attempt"] == (2 if longer else 1)
        wholeness.settled(served)
        made = {one["id"] for one in client.call("GET", "/servers")["servers"]}
        assert made >= {*crowd.created, server}, "what was accepted is not there"


@pytest.mark.promise("F5")
def test_an_sqlite_that_is_locked_is_waited_for(play: Play, record_property: Record) -> None:
    """Somebody holds the file for himself: reads go on, writes are told to come again, soon; runs fence themselves."""
    with play() as served:
        served.start("api", "worker")
        client = served.client()
        server = _begun(client, "takes-40-1.example")
        with Crowd(client, server, 20) as crowd:
            time.sleep(1)
            began = time.monotonic()
            with _locked(served.home / "ocore.db"):
                time.sleep(LOCKED)
            back = time.monotonic()
            _goes_on(crowd, back, record_property)
        _check(crowd, began, record_property)
        assert [one for one in crowd.since(began) if one.status == 200 and one.began < back - 1], "nobody could read"
        assert FENCED in served.running[1].said()
        client.until(server, "active", 180)
        assert only_run(client, server)["attempt"] == 2
        wholeness.settled(served)
        made = {one["id"] for one in client.call("GET", "/servers")["servers"]}
        assert made >= {*crowd.created, server}, "what was accepted is not there"
