"""Runs of the service that are cancelled, run out of time or are killed leave no secret, anywhere.

Looked through are the database, the queue, the logs and all answers; every process' arguments and environment; files
that the service's own have open; shared memory and every folder where something of a run might be; and the server.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from ocore import sandbox
from tests.e2e.canaries import Canaries, let_in
from tests.e2e.looking import assert_nowhere
from tests.e2e.trees import Tree
from tests.integration import scanning
from tests.integration.apart import seconds_until
from tests.integration.stoppable import long_task, long_task_began

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.e2e.served import Client, Program, Served
    from tests.hosts import Host

BEGINS = 180.0
# What a run that is to run out of time has beyond what the one before it took to come into the long task.
MORE_SECONDS = 20
ENDS = 120.0


@pytest.fixture(scope="module")
def provided(start: Callable[..., Host]) -> Host:
    """Return a host with a user who needs a password for sudo."""
    return start("sudo-password")


class Watching:
    """Looks at every process of this machine, and at the open files of the service's, while something goes on."""

    def __init__(self, served: Served, canaries: Canaries) -> None:
        self.found: set[str] = set()
        self.looks = 0
        self._served, self._scan = served, canaries.scan()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._stop.is_set():
            below = {pid for one in list(self._served.running) for pid in (one.pid, *Tree(one.pid).alive())}
            self.found |= set(self._scan.processes())
            # A run's own folder is in memory that no other namespace sees, and goes with it.
            self.found |= set(self._scan.open_files(below, [Path(sandbox.WORK)]))
            self.looks += 1
            self._stop.wait(0.2)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()


def _assert_nowhere(served: Served, host: Host, canaries: Canaries) -> None:
    """Check that nothing is found, in what is kept, on this machine and on the server."""
    assert_nowhere(served, canaries)
    scan = canaries.scan()
    assert not list(scan.processes())
    assert not scanning.on_disk(scan, canaries.since)
    assert not scanning.on_server(host, canaries.patterns, canaries.since)


def _in_a_task(client: Client, host: Host, server: str) -> tuple[str, float]:
    """Have a run come into the long task; return its id, and how long that took."""
    run = str(client.ask(server, steps=["packages"])["id"])
    began = lambda: long_task_began(host) or client.run(run)["finishedAt"]  # noqa: E731
    seconds = seconds_until(began, BEGINS, "the long task begins")
    found = client.run(run)
    assert found["state"] == "running", (found["errorCode"], found["message"])
    return run, seconds


def _worker(served: Served) -> Program:
    return next(one for one in served.running if one.role == "worker")


def _with_time(served: Served, seconds: float) -> None:
    """Have a worker whose runs have so much time."""
    worker = _worker(served)
    worker.end()
    served.running.remove(worker)
    served.set(run_timeout=seconds)
    served.start("worker")


def _stop(way: str, served: Served, client: Client, run: str) -> None:
    """Stop a run, or wait until its time is over."""
    if way == "SIGKILL":
        served.kill(_worker(served))
        return
    if way == "cancel":
        client.call("POST", f"/runs/{run}/cancel", 202)
    ended = client.ended(run, ENDS)
    assert ended["errorCode"] == {"cancel": "cancelled", "time-out": "run_timeout"}[way], ended


def _made_again(served: Served, client: Client, run: str) -> None:
    """Let another worker take a run that was cut off, and stop that."""
    served.start("worker")
    seconds_until(lambda: client.run(run)["attempt"] == 2, ENDS, "another worker has the run")
    client.call("POST", f"/runs/{run}/cancel", 202)
    client.ended(run, ENDS)


@pytest.mark.promise("A13", "A14")
@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("storage", ["sqlite", "postgres"])
@pytest.mark.parametrize("by", ["key", "password"])
def test_a_run_of_the_service_that_is_stopped_leaves_no_secret(
    storage: str,
    by: str,
    serve: Callable[..., AbstractContextManager[Served]],
    provided: Host,
    record_property: Callable[..., None],
) -> None:
    """While it goes on and afterwards, whichever way it ends; also what it has sent and what it is answered."""
    canaries = Canaries()
    private, public = canaries.key("the key")
    login = canaries.password("the password")
    let_in(provided, public, login, login)
    secrets = {"sshPrivateKey": private} if by == "key" else {"authMethod": "password"}
    with serve(storage) as served:
        served.start("api", "worker")
        client = served.client()
        made = client.create(provided, proxyType="none", sshPassword=login, **secrets)
        [first] = client.runs(made["id"])
        seconds_until(lambda: client.run(first["id"])["state"] != "queued", BEGINS, "the first run begins")
        client.call("POST", f"/runs/{first['id']}/cancel", None)
        client.ended(first["id"], BEGINS)
        seconds = 0.0
        for way in ("cancel", "time-out", "SIGKILL"):
            _with_time(served, seconds + MORE_SECONDS if way == "time-out" else 3600)
            with long_task(provided), Watching(served, canaries) as watching:
                run, seconds = _in_a_task(client, provided, made["id"])
                _assert_nowhere(served, provided, canaries)
                _stop(way, served, client, run)
                _assert_nowhere(served, provided, canaries)
                if way == "SIGKILL":
                    _made_again(served, client, run)
            assert watching.looks > 5
            assert not watching.found, way
            _assert_nowhere(served, provided, canaries)
        for path in ("/servers", "/audit", f"/servers/{made['id']}", f"/servers/{made['id']}/receipts"):
            client.call("GET", path)
        client.delete(made["id"])
        _assert_nowhere(served, provided, canaries)
    record_property("runs", 3)
