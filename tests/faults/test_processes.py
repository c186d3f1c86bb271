"""Worker processes that are stopped for a while, and processes that are told to end while there is much to do."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults import wholeness
from tests.faults.asking import GONE, Crowd
from tests.faults.played import Played, create, only_run
from tests.service.support import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.e2e.served import Client, Program

    Play = Callable[..., AbstractContextManager[Played]]
    Record = Callable[[str, object], None]

# Run by `./dev faults`: the whole of them takes longer than everybody's tests may.
pytestmark = pytest.mark.slow

LEASE = 10.0
GRACE = 3.0
# What a process needs to end after its grace time, on a busy machine.
ENDS = 30.0
SERVERS = 8


def _holder(served: Played) -> Program:
    """Return the process that makes the only run."""
    found = [program for program in served.running if "run started" in program.said()]
    assert len(found) == 1
    return found[0]


def _writes(served: Played) -> bool:
    """Tell whether somebody is writing to an SQLite database at this moment."""
    if served.storage:
        return False
    with contextlib.closing(sqlite3.connect(served.home / "ocore.db", isolation_level=None, timeout=0)) as look:
        try:
            look.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        look.execute("ROLLBACK")
        return False


@contextlib.contextmanager
def stopped(served: Played, program: Program) -> Iterator[None]:
    """Stop a process, but not while it has an SQLite database to itself: then nobody could go on."""
    for _ in range(50):
        program.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        if not _writes(served):
            break
        program.process.send_signal(signal.SIGCONT)
    try:
        yield
    finally:
        program.process.send_signal(signal.SIGCONT)


def _steps_of(client: Client, run: str, attempt: int) -> list[tuple[str, str]]:
    """Return each step's end that was told since an attempt began, whoever told it."""
    told = list(client.follow(run))
    [began] = [one.number for one in told if one.type == "run" and one.data["attempt"] == attempt][:1]
    steps = [one.data for one in told if one.type == "step" and one.number > began]
    return [(one["step"], one["status"]) for one in steps if one["status"] != "running"]


@pytest.mark.promise("F4")
def test_a_worker_that_was_stopped_for_too_long_writes_nothing_more(
    storage: str, play: Play, record_property: Record
) -> None:
    """Another one makes its run; when it goes on it sees that by itself, and takes new runs as before."""
    with play(storage, lease_seconds=LEASE, workers=1) as served:
        served.start("api", "worker", "worker")
        client = served.client()
        server = create(client, "takes-15-1.example")
        wait_for(lambda: client.logs(server), "its run goes on")
        late = _holder(served)
        with stopped(served, late):
            since = time.monotonic()
            wait_for(lambda: only_run(client, server)["attempt"] == 2, "another one makes it", LEASE * 5)
            record_property("recovery", round(time.monotonic() - since, 2))
            time.sleep(1)
            events = served.rows("SELECT count(*) FROM event")
        wait_for(lambda: "the run is not ours any more" in late.said(), "it sees that it is late", 5)
        assert served.rows("SELECT count(*) FROM run WHERE state = 'running'") == [(1,)]
        client.until(server, "active")
        others = create(client, "takes-4-1.example"), create(client, "takes-4-2.example")
        for one in others:
            client.until(one, "active")
        undisturbed = _steps_of(client, only_run(client, others[0])["id"], 1)
        assert _steps_of(client, only_run(client, server)["id"], 2) == undisturbed
        assert served.rows("SELECT count(*) FROM event") > events
        workers = served.rows("SELECT DISTINCT lease_owner FROM run WHERE kind = 'provision'")
        assert len(workers) == 2, "it takes no runs any more"
        assert only_run(client, server)["attempt"] == 2
        wholeness.settled(served)
        assert "Traceback" not in late.said()


@pytest.mark.promise("F4")
def test_an_only_worker_that_was_stopped_for_too_long_makes_its_run_again(
    storage: str, play: Play, record_property: Record
) -> None:
    """It finds by itself that the run was lost, and another of its slots makes it, once."""
    with play(storage, lease_seconds=LEASE, workers=2) as served:
        served.start("api", "worker")
        client = served.client()
        server = create(client, "takes-15-1.example")
        wait_for(lambda: client.logs(server), "its run goes on")
        late = _holder(served)
        with stopped(served, late):
            time.sleep(LEASE * 1.5)
        since = time.monotonic()
        wait_for(lambda: only_run(client, server)["attempt"] == 2, "it is made again", LEASE * 3)
        record_property("recovery", round(time.monotonic() - since, 2))
        client.until(server, "active")
        assert only_run(client, server)["attempt"] == 2
        wholeness.settled(served)
        assert "the run is not ours any more" in late.said()
        assert "Traceback" not in late.said()


@pytest.mark.promise("F28")
def test_processes_that_are_told_to_end_under_load_leave_nothing(
    storage: str, play: Play, record_property: Record
) -> None:
    """All of them end with 0 soon after their grace time; the runs are handed over, and made after the next start."""
    with play(storage, grace_seconds=GRACE, workers=2) as served:
        programs = served.start("api", "worker", "worker")
        client = served.client()
        servers = [create(client, f"takes-15-{number}.example") for number in range(SERVERS)]
        running = "SELECT count(*) FROM run WHERE state = 'running'"
        wait_for(lambda: served.rows(running) == [(4,)], "all slots are taken")
        with Crowd(client, servers[0]) as crowd:
            time.sleep(2)
            began = time.monotonic()
            for program in programs:
                program.process.send_signal(signal.SIGTERM)
            codes = [program.process.wait(60) for program in programs]
            took = time.monotonic() - began
        record_property("stopped after", round(took, 2))
        assert codes == [0, 0, 0]
        assert took < GRACE + ENDS
        bad = [one for one in crowd.answers if not one.allowed and one.status != GONE]
        assert not bad, bad[:3]
        assert crowd.answers[-1].status == GONE
        assert served.rows(running) == [(0,)]
        for program in programs:
            assert "Traceback" not in program.said(), program.said()[-3000:]
            served.running.remove(program)
        wholeness.check(served)

        began = time.monotonic()
        served.start("api", "worker", "worker")
        wholeness.settled(served, 240)
        record_property("recovery", round(time.monotonic() - began, 2))
        for server in servers:
            assert client.get(server)["status"] == "active"
            # A run that was handed over has not failed: that counts as no attempt.
            assert only_run(client, server)["attempt"] == 1
        assert {one["id"] for one in client.call("GET", "/servers")["servers"]} >= {*servers, *crowd.created}
