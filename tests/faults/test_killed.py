"""What becomes of a run when one process is killed at one moment, or when there is no memory left."""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocore.inside.__main__ import MEMORY
from tests.faults import watched
from tests.faults.kill_loop import VANISHES, KillLoop, Target, seed
from tests.integration.apart import seconds_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.e2e.served import Client, Program
    from tests.faults.marked import Found, Marked
    from tests.hosts import Host

# Run by `./dev faults`: the whole of them takes longer than everybody's tests may.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

log = logging.getLogger(__name__)
HELD = {"hold_after_validation": "true"}
ENDS = 400.0
# A run whose process is gone ends at once; a busy machine needs a while for it.
CODE = 60.0
# Longer than any of this takes.
LONG = 40.0
LOST = frozenset({"worker_lost"})
FEW = ("api", "worker", "supervisor", "ansible")
# A run may end before its moment comes.
TRIES = 5


@dataclass
class Bench:
    """A service, and a server that is validated and has its packages, but is not provisioned as a whole."""

    served: Marked
    client: Client
    host: Host
    server: str

    def ask(self, **what: Any) -> str:
        """Ask for a run."""
        run: str = self.client.ask(self.server, **what)["id"]
        return run

    def now(self, run: str) -> dict[str, Any]:
        """Return a run as it stands."""
        return self.client.run(run)

    def in_the_step(self) -> str:
        """Ask for a run, and return its id once its step is at work on the server."""
        before = len(watched.lines(self.host))
        watched.make_due(self.host, LONG)
        run = self.ask(steps=[watched.STEP])
        seconds_until(
            lambda: len(watched.lines(self.host)) > before or self.now(run)["finishedAt"], ENDS, "the step is at work"
        )
        now = self.now(run)
        assert (now["state"], now["errorCode"], now["message"]) == ("running", "", ""), now
        watched.make_due(self.host)
        return run


def opened(served: Marked, host: Host) -> Bench:
    """Start the service, and bring the server to where cheap runs can be made on it."""
    served.start("api", "worker", "worker")
    client = served.client()
    host.disown()
    server = client.create(host, proxyType="none")["id"]
    seconds_until(lambda: client.get(server)["statusMessage"].startswith("Validated"), ENDS, "it is validated")
    packages = client.ask(server, steps=["packages"])["id"]
    assert client.ended(packages, ENDS)["state"] == "succeeded", client.run(packages)
    return Bench(served, client, host, server)


@pytest.fixture(scope="module")
def host(start: Callable[..., Host]) -> Host:
    """Return a host with the program of the step `watched`."""
    found = start("root-key")
    watched.prepare(found)
    return found


@pytest.fixture(scope="module")
def bench(serve_marked: Callable[..., AbstractContextManager[Marked]], host: Host) -> Iterator[Bench]:
    """Return a bench on SQLite."""
    with serve_marked("sqlite", site=watched.SITE, workers=1, **HELD) as served:
        yield opened(served, host)


# --- F3: a process of the run's own -----------------------------------------------------------------------------------


def _outer(found: list[Found]) -> list[Found]:
    return [one for one in found if one.is_bubblewrap][:1]


def _inner(found: list[Found]) -> list[Found]:
    return [one for one in found if one.is_bubblewrap][1:]


def _obeying(found: list[Found]) -> list[Found]:
    return [one for one in found if one.is_supervisor and not one.is_bubblewrap]


def _ansible(found: list[Found]) -> list[Found]:
    return [one for one in found if one.is_ansible][:1]


def _task(found: list[Found]) -> list[Found]:
    return [one for one in found if one.is_ansible][1:]


WHO = {
    "what obeys our orders": _obeying,
    "ansible-playbook": _ansible,
    "bubblewrap": _outer,
    "bubblewrap inside": _inner,
    "a task's process": _task,
}


def _assert_ended_with_a_code(bench: Bench, run: str, since: float, codes: frozenset[str] = LOST) -> float:
    """Check that a run ended, that nothing of it is at work here or there, and that the next one succeeds."""
    ended = bench.client.ended(run, CODE)
    took = time.monotonic() - since
    log.info("%s after %.1f s: %s", ended["errorCode"], took, ended["message"])
    assert ended["state"] == "failed", ended
    assert ended["errorCode"] in codes, ended
    seconds_until(
        lambda: not bench.served.of_runs(), VANISHES, lambda: f"its processes are gone: {bench.served.of_runs()}"
    )
    seconds_until(
        lambda: not watched.at_work(bench.host),
        VANISHES,
        lambda: f"nothing of it is at work: {watched.at_work(bench.host)}",
    )
    left = bench.served.left()
    assert not left, left
    again = bench.client.ended(bench.ask(steps=[watched.STEP]), ENDS)
    assert again["state"] == "succeeded", again
    assert not watched.overlaps(watched.lines(bench.host))
    return took


@pytest.mark.promise("F3", "F33")
@pytest.mark.parametrize("who", WHO)
def test_a_run_whose_own_process_is_killed_ends_with_a_code(
    bench: Bench, who: str, record_property: Callable[[str, object], None]
) -> None:
    """In the middle of a step: its worker says what happened, and nothing of it goes on."""
    run = bench.in_the_step()
    found = WHO[who](bench.served.of_runs())
    assert found, bench.served.of_runs()
    since = time.monotonic()
    found[-1].kill()
    record_property("recovery", _assert_ended_with_a_code(bench, run, since))


@pytest.mark.promise("F3")
@pytest.mark.parametrize("more", [0, 4, 16])
def test_a_run_without_memory_ends_with_a_code(
    bench: Bench, more: int, record_property: Callable[[str, object], None]
) -> None:
    """Each of its processes of ours gets so many MiB more than it has at its start, which is too few for Ansible."""
    run = bench.ask(kind="validate")
    seconds_until(
        lambda: any(map(_is_limited, _ansible(bench.served.of_runs()))), ENDS, "Ansible is there, with its limit"
    )
    since = time.monotonic()
    for process in [one for one in bench.served.of_runs() if one.is_ansible or "ocore.inside" in one.words]:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            pages = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[0])
            resource.prlimit(process.pid, resource.RLIMIT_AS, (pages * resource.getpagesize() + more * 2**20,) * 2)
    record_property("recovery", _assert_ended_with_a_code(bench, run, since, LOST | {"internal"}))


def _is_limited(one: Found) -> bool:
    """Tell whether a process has set its own limit, which would take the place of ours."""
    with contextlib.suppress(ProcessLookupError):
        return resource.prlimit(one.pid, resource.RLIMIT_AS)[0] == MEMORY
    return False


# --- a worker that is stopped (F4), or told to end (F28) --------------------------------------------------------------


def _holder(bench: Bench) -> Program:
    """Return the worker whose run is at work: the parent of the run's first process."""
    [first, *_] = bench.served.of_runs()
    parent = int(Path(f"/proc/{first.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    [found] = [program for program in bench.served.running if program.process.pid == parent]
    return found


@pytest.mark.promise("F4")
def test_what_a_stopped_worker_has_at_work_is_gone_when_another_one_begins(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    """Its run's processes end by themselves before its lease does, so that no two are ever at work on the server."""
    run = bench.in_the_step()
    late, before = _holder(bench), set(bench.served.of_runs())
    late.process.send_signal(signal.SIGSTOP)
    since = time.monotonic()
    try:
        seconds_until(lambda: bench.now(run)["attempt"] == 2, ENDS, "another one makes it")
        left = before & set(bench.served.of_runs())
        assert not left, left
        ended = bench.client.ended(run, ENDS)
        record_property("recovery", time.monotonic() - since)
        assert ended["state"] == "succeeded", ended
    finally:
        late.process.send_signal(signal.SIGCONT)
    assert not watched.overlaps(watched.lines(bench.host))
    seconds_until(lambda: "the run is not ours any more" in late.said(), CODE, "it sees that it is late")
    assert late.process.poll() is None
    assert bench.now(run)["attempt"] == 2


@pytest.mark.promise("F28", "F33")
def test_a_worker_that_is_told_to_end_leaves_nothing_of_its_run(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    """In the middle of a step that takes longer than its grace time: another one makes the run, which counts once."""
    run = bench.in_the_step()
    ending, before = _holder(bench), set(bench.served.of_runs())
    since = time.monotonic()
    ending.process.send_signal(signal.SIGTERM)
    assert ending.process.wait(ENDS) == 0
    bench.served.running.remove(ending)
    left = before & set(bench.served.of_runs())
    assert not left, left
    ended = bench.client.ended(run, ENDS)
    record_property("recovery", time.monotonic() - since)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 1), ended
    assert not watched.overlaps(watched.lines(bench.host))
    assert not watched.at_work(bench.host)
    assert "Traceback" not in ending.said()
    bench.served.start("worker")


# --- F9: between what happened and what is written --------------------------------------------------------------------


def _assert_nothing_twice(bench: Bench, moment: str) -> float:
    """Let a worker die at a moment, and another one go on; return how long it took that one."""
    bench.served.kill(*[one for one in bench.served.running if one.role == "worker"])
    before = len(watched.lines(bench.host))
    watched.make_due(bench.host, 0.2)
    dying = bench.served.begin("worker", ["env", f"OCORE_TEST_DIES={moment}"])
    run = bench.ask(steps=[watched.STEP])
    seconds_until(lambda: dying.process.poll() is not None, ENDS, lambda: f"the worker dies; {bench.now(run)}")
    assert dying.process.returncode == -signal.SIGKILL
    assert bench.now(run)["state"] == "running", bench.now(run)
    since = bench.served.kill(dying)
    bench.served.start("worker", "worker")
    ended = bench.client.ended(run, ENDS)
    took = time.monotonic() - since
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2), ended
    steps = [one["status"] for one in bench.client.logs(bench.server) if one["step"] == watched.STEP]
    log.info("%s: done again after %.1f s: %s", moment, took, steps)
    assert steps[-1] == "unchanged", steps
    words = [word for word, _ in watched.lines(bench.host)[before:]]
    assert words.count("start") == words.count("end") == 1, words
    return took


@pytest.mark.promise("F9", "A15")
@pytest.mark.parametrize("moment", [watched.STEP, "end"])
def test_what_was_done_and_not_written_is_not_done_again(
    bench: Bench, moment: str, record_property: Callable[[str, object], None]
) -> None:
    """A worker dies after a step, and before that is written: another one looks, and finds it so."""
    record_property("recovery", _assert_nothing_twice(bench, moment))


@pytest.mark.promise("F9", "A15")
@pytest.mark.parametrize("moment", [watched.STEP, "end"])
def test_the_same_on_postgres(
    serve_marked: Callable[..., AbstractContextManager[Marked]],
    host: Host,
    moment: str,
    record_property: Callable[[str, object], None],
) -> None:
    """The same on the other storage."""
    with serve_marked("postgres", site=watched.SITE, workers=1, **HELD) as served:
        record_property("recovery", _assert_nothing_twice(opened(served, host), moment))


# --- a few kills ------------------------------------------------------------------------------------------------------


@pytest.mark.promise("F1", "F3", "F33", "A15")
def test_a_few_kills_in_a_row(bench: Bench, record_property: Callable[[str, object], None]) -> None:
    """One of each at a random moment, as in the kill loop, and all is well again each time."""
    loop = KillLoop(
        bench.served,
        bench.client,
        [Target(bench.host, bench.server)],
        seed("few"),
        kinds=("watched", "validate"),
        settles=frozenset({"error", "pending"}),
        again="validate",
    )
    for victim in FEW:
        for _ in range(TRIES):
            loop.round(victim)
            if loop.kills[victim]:
                break
    log.info("%s", loop.told())
    assert set(FEW) <= set(loop.kills), loop.told()
    record_property("runs", loop.kills.total())
    record_property("recovery", max(loop.recoveries, default=0.0))


# --- F33: where there are no namespaces, a folder may stay ------------------------------------------------------------


@pytest.mark.promise("F33", "F34")
def test_a_folder_that_a_killed_supervisor_left_goes_with_the_next_run(
    serve_marked: Callable[..., AbstractContextManager[Marked]], host: Host
) -> None:
    """Without namespaces: worker and supervisor are killed at once; the next run removes and ends what that leaves."""
    with serve_marked("sqlite", site=watched.SITE, workers=1, reduced=True, **HELD) as served:
        bench = opened(served, host)
        run = bench.in_the_step()
        [supervisor, *_] = [one for one in served.of_runs() if one.is_supervisor]
        supervisor.kill()
        served.kill(*[one for one in served.running if one.role == "worker"])
        assert [name for name in served.left() if "ocore-" in name], "nothing was left that could be swept"
        lived_on = set(served.of_runs())
        assert lived_on, "nothing was left that could be ended"
        served.start("worker")
        ended = bench.client.ended(run, ENDS)
        assert (ended["state"], ended["isolation"]) == ("succeeded", "reduced"), ended
        left = served.left()
        assert not left, left
        assert not lived_on & set(served.of_runs())
