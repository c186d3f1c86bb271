"""Killed in the middle of a step: the server becomes active all the same, by itself, and nothing accepted is lost."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.trees import Tree
from tests.integration.apart import seconds_until
from tests.integration.stoppable import HOOK, long_task, long_task_began
from tests.service.storages import Redis
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.e2e.served import Client, Program, Served
    from tests.hosts import Host

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)
STEP = "packages"
BEGINS = 180.0
# What a busy machine needs to begin a run and to make it; a worker's loss is found in a fraction of this.
ENDS = 180.0


@pytest.fixture(scope="module")
def provided(start: Callable[..., Host]) -> Host:
    """Return a host with Docker in it."""
    return start("root-key")


@pytest.fixture
def host(provided: Host) -> Iterator[Host]:
    """Return the host with a long task in the step `packages`, and no sign of the services of other tests."""
    provided.exec("rm -f /etc/ocore/server.json")
    with long_task(provided):
        yield provided


@dataclass
class Cut:
    """A run in the middle of a step."""

    client: Client
    server: str
    run: str

    def now(self) -> dict[str, Any]:
        """Return the run as it stands."""
        return self.client.run(self.run)

    def is_begun_again(self) -> bool:
        """Tell whether a worker has it for the second time."""
        found = self.now()
        return bool(found["attempt"] == 2 and found["state"] != "queued")

    def steps(self) -> list[tuple[str, str, str]]:
        """Return the log: each attempt's step, status and message."""
        return [(one["step"], one["status"], one["message"]) for one in self.client.logs(self.server)]


def _begun(client: Client, host: Host) -> Cut:
    """Create a server, and let its run come into the long task."""
    made = client.create(host, proxyType="none")
    [run] = client.runs(made["id"])
    cut = Cut(client, made["id"], run["id"])
    seconds_until(lambda: long_task_began(host) or cut.now()["finishedAt"], BEGINS, "the long task begins")
    assert cut.now()["state"] == "running", cut.now()
    return cut


def _holder(served: Served) -> Program:
    """Return the process that makes the run."""
    [found] = [program for program in served.running if "run started" in program.said()]
    return found


def _assert_gone_on(cut: Cut) -> None:
    """Check the log: the interrupted step was closed and says why, and the next attempt went on at that step."""
    steps = cut.steps()
    [at] = [index for index, (_, _, words) in enumerate(steps) if "worker was lost" in words]
    assert steps[at][:2] == (STEP, "failed"), steps
    again = [(step, status) for step, status, _ in steps[at + 1 :]]
    assert [step for step, _ in again[:4]] == ["connect", "privileges", "detect", "preflight"], steps
    assert again[4] == (STEP, "success"), steps
    assert {status for _, status in again} <= {"success", "unchanged"}, steps
    assert again[-1][0] == "verify"
    assert all(one["completedAt"] and one["durationMs"] >= 0 for one in cut.client.logs(cut.server))
    assert cut.client.logs(cut.server)[at]["durationMs"] > 0
    [run] = cut.client.runs(cut.server)
    assert (run["id"], run["state"], run["attempt"]) == (cut.run, "succeeded", 2)


def _converges(cut: Cut, host: Host, since: float, what: str) -> None:
    """Wait until the run is begun again and the server active, and say how long each took."""
    host.exec(f"rm -f {HOOK}")
    seconds_until(cut.is_begun_again, ENDS, f"the run is begun again; {cut.now()}")
    claimed = time.monotonic() - since
    seconds_until(lambda: cut.client.get(cut.server)["status"] == "active", ENDS, f"it is active; {cut.now()}")
    log.info("%s: begun again after %.1f s, active after %.1f s", what, claimed, time.monotonic() - since)
    _assert_gone_on(cut)


@pytest.mark.promise("F1", "A15")
@pytest.mark.slow
def test_another_worker_goes_on_where_one_was_killed(
    storage: str, serve: Callable[..., AbstractContextManager[Served]], host: Host
) -> None:
    """A worker is killed in the middle of a step: nothing of it lives on here, and another one finishes its run.

    On SQLite the other one sees at once that it is dead; of a worker on another machine it knows by the lease only.
    """
    with serve(storage) as served:
        served.start("api")
        served.start("worker", "worker", elsewhere=storage == "postgres")
        cut = _begun(served.client(), host)
        worker = _holder(served)
        tree = Tree(worker.pid)
        killed = served.kill(worker)
        gone = seconds_until(lambda: not tree.alive(), 5, f"what it had started is gone; {tree.alive()}")
        log.info("%s: %d processes below the killed worker were gone after %.2f s", storage, len(tree), gone)
        _converges(cut, host, killed, f"{storage}, a worker killed")


@pytest.mark.promise("F2", "A15")
@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "postgres"])
def test_all_is_killed_and_the_queue_is_lost(
    storage: str, serve: Callable[..., AbstractContextManager[Served]], tmp_path: Path, host: Host
) -> None:
    """All processes are killed and the queue is wiped: started again, the service goes on with all that it took on."""
    queue = Redis(tmp_path) if storage == "postgres" else None
    with _stopped(queue), serve(storage, workers=1, **({"queue_url": queue.url} if queue else {})) as served:
        served.start("all")
        client = served.client()
        cut = _begun(client, host)
        # Taken on and not begun, for the only slot is taken.
        waiting = [_unreachable(client, host, number) for number in range(3)]
        before = client.call("GET", "/servers")["servers"]
        tree = Tree(served.running[0].pid)
        killed = served.kill(*served.running)
        seconds_until(lambda: not tree.alive(), 5, f"what it had started is gone; {tree.alive()}")
        _wipe(served, queue)

        began = time.monotonic()
        served.start("all")
        log.info(
            "%s: ready %.1f s after the start, %.1f s after the kill", storage, time.monotonic() - began, began - killed
        )
        _converges(cut, host, began, f"{storage}, all killed and the queue wiped (since the start)")
        assert [one["id"] for one in client.call("GET", "/servers")["servers"]] == [one["id"] for one in before]
        for server in waiting:
            client.until(server, "error", ENDS)
            assert client.runs(server)[0]["errorCode"] == "connection_refused"


def _unreachable(client: Client, host: Host, number: int) -> str:
    """Create a server where nothing listens."""
    made = client.create(host, name=f"nobody-{number}", port=number + 1, sshPrivateKey=private_key("ed25519"))
    return str(made["id"])


@contextlib.contextmanager
def _stopped(queue: Redis | None) -> Iterator[None]:
    """Stop a queue in the end, if there is one."""
    try:
        yield
    finally:
        if queue is not None:
            queue.stop()


def _wipe(served: Served, queue: Redis | None) -> None:
    """Take the queue's storage away: its file, or all that Redis held."""
    if queue is not None:
        queue.stop(signal.SIGKILL)
        queue.start()
        return
    files = list(served.home.glob("queue.db*"))
    assert files
    for file in files:
        file.unlink()
