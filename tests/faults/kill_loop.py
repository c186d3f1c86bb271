"""Kills whatever may be killed, at random moments of random runs, and looks each time whether all is well again.

One round: a run is asked for, processes are killed, what was a process of the service is started anew, and then the run
must end, the server be as it should, and nothing be left. One seed chooses the victims and the moments; what a process
is at by then still depends on how fast the machine is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx2
import redis

from tests.e2e.served import ELSEWHERE
from tests.e2e.trees import Tree
from tests.faults import watched
from tests.faults.invariants import AT_WORK, Invariants, Row
from tests.integration.apart import seconds_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.e2e.served import Client, Program
    from tests.faults.marked import Found, Marked
    from tests.hosts import Host

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)
# What is killed, and how often.
VICTIMS: Final = {"api": 20, "worker": 35, "supervisor": 20, "ansible": 20, "all": 5}
RUNS: Final[dict[str, dict[str, Any]]] = {
    "validate": {"kind": "validate"},
    "drift": {"kind": "drift"},
    "watched": {"kind": "provision", "steps": [watched.STEP], "force": True},
    "provision": {"kind": "provision"},
}
# A busy machine needs most of this for the run itself; what was lost is found within a lease.
CONVERGES: Final = 400.0
VANISHES: Final = 15.0
# How a run may end whose own process was killed. One whose worker or API was killed must succeed.
CUT: Final = "worker_lost"
# A request is answered within about this.
_ANSWER: Final = 0.1


def seed(name: str) -> str:
    """Return a new seed; OCORE_TEST_SEED gives one that has failed, for the same victims and moments."""
    return os.environ.get("OCORE_TEST_SEED") or f"{name}-{os.urandom(4).hex()}"


@dataclass(frozen=True)
class Target:
    """A host, and the server that stands for it."""

    host: Host
    server: str


@dataclass
class Round:
    """What is known of one round.

    Attributes:
        number: its number.
        target: what its run is about.
        kind: which run it is, of `RUNS`.
        run: its id.
        killed_at: when the last process was killed.
        cut: whether a process was killed that is the run's own, so that the run may fail.

    """

    number: int
    target: Target
    kind: str
    run: str = ""
    killed_at: float | None = None
    cut: bool = False


@dataclass
class KillLoop:
    """A service under fire.

    Attributes:
        served: the service; its API and workers run already.
        client: who asks for runs.
        targets: what the runs are about.
        seed: what chooses the victims and the moments.
        elsewhere: whether workers have process ids of their own, as on another machine.
        kinds: the runs that are asked for.
        settles: what a server may be in the end of each round.
        again: the run that mends what a run that failed has left.

    """

    served: Marked
    client: Client
    targets: Sequence[Target]
    seed: str
    elsewhere: bool = False
    kinds: Sequence[str] = tuple(RUNS)
    settles: frozenset[str] = frozenset({"active"})
    again: str = "provision"
    kills: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin at the seed, and learn how long each kind of run takes here and now."""
        self._chance = random.Random(self.seed)  # noqa: S311 - moments, not secrets
        self._invariants = Invariants(self.served)
        self._rounds = 0
        self._lengths: dict[str, float] = {}
        self._asked = len(self._invariants.look())
        for kind in self.kinds:
            began = time.monotonic()
            this = self._next(self.targets[0], kind)
            this.run = self._ask(this)
            self._converge(this)
            self._lengths[kind] = time.monotonic() - began

    def until(self, kills: int, seconds: float) -> None:
        """Go on until so many were killed, or the time is over; begin with one of each kind."""
        deadline = time.monotonic() + seconds
        while self.kills.total() < kills and time.monotonic() < deadline:
            drawn = self._chance.choices(list(VICTIMS), list(VICTIMS.values()))[0]
            self.round(next((one for one in VICTIMS if not self.kills[one]), drawn))

    def round(self, victim: str) -> None:
        """Kill one of a kind, or two, and see all well again."""
        this = self._next(self._chance.choice(self.targets), self._chance.choice(self.kinds))
        if victim == "api" and self._chance.random() < 0.5:
            self._kill_in_request(this)
        else:
            this.run = self._ask(this)
            for _ in range(self._chance.choice((1, 1, 2))):
                if not self._strike(this, victim):
                    break
        self._converge(this)

    def told(self) -> str:
        """Say what was done."""
        ordered = sorted(self.recoveries)
        middle = ordered[len(ordered) // 2] if ordered else 0.0
        return (
            f"{self.kills.total()} kills in {self._rounds} rounds {dict(self.kills)}, runs {dict(self.ends)}, "
            f"{self._invariants.looks} looks; recovery {middle:.1f} s in the middle, {max(ordered, default=0):.1f} s "
            f"at worst; seed {self.seed}"
        )

    # --- asking -------------------------------------------------------------------------------------------------------

    def _next(self, target: Target, kind: str) -> Round:
        self._rounds += 1
        if RUNS[kind]["kind"] == "provision":
            watched.make_due(target.host)
        return Round(self._rounds, target, kind)

    def _ask(self, this: Round, **headers: str) -> str:
        path = f"/servers/{this.target.server}/runs"
        run: str = self.client.call("POST", path, 202, json=RUNS[this.kind], headers=headers)["id"]
        self._asked += not headers
        return run

    def _kill_in_request(self, this: Round) -> None:
        """Kill the API while it answers, and ask again with the same key: one run, whatever it had come to."""
        key = {"Idempotency-Key": f"{self.seed}-{this.number}"}
        moment = self._chance.uniform(0, _ANSWER)
        with self.client.http() as http, ThreadPoolExecutor(1) as pool:
            path = f"/api/servers/{this.target.server}/runs"
            asked = pool.submit(http.post, path, json=RUNS[this.kind], headers=key)
            time.sleep(moment)
            self._kill(this, "api", *self._of_role("api"))
            with contextlib.suppress(httpx2.HTTPError):
                assert asked.result().status_code == 202
        this.run = self._ask(this, **key)
        self._asked += 1
        self._tell(this, f"the API killed {moment:.3f} s after the request")

    # --- killing ------------------------------------------------------------------------------------------------------

    def _strike(self, this: Round, victim: str) -> bool:
        """Kill at a random moment of the run; False where there was nothing to kill any more."""
        moment = self._chance.uniform(0, self._lengths[this.kind] * 0.9)
        if victim in {"supervisor", "ansible"}:
            seconds_until(
                lambda: self._found(victim) or self._has_ended(this), CONVERGES, f"there is a process: {victim}"
            )
            moment *= 0.6
        end = time.monotonic() + moment
        while (left := end - time.monotonic()) > 0:
            self._invariants.look()
            time.sleep(min(left, 0.2))
        if self._has_ended(this):
            return False
        if victim in {"supervisor", "ansible"}:
            if not self._kill_found(this, victim):
                return False
        elif victim == "all":
            self._kill(this, victim, *self.served.running)
        else:
            self._kill(this, victim, self._one(victim))
        self._tell(this, f"{victim} killed after {moment:.2f} s")
        return True

    def _has_ended(self, this: Round) -> bool:
        return self._row(this.run).state not in AT_WORK

    def _row(self, run: str) -> Row:
        [found] = [row for row in self._invariants.look() if row.id == run]
        return found

    def _of_role(self, role: str) -> list[Program]:
        return [one for one in self.served.running if one.role == role]

    def _one(self, role: str) -> Program:
        """Return a process of the service: of workers, more often than not the one that makes the run."""
        programs = self._of_role(role)
        owners = [row.owner for row in self._invariants.look() if row.state == "running"]
        busy = [one for one in programs if any(owner in one.said() for owner in owners)]
        return self._chance.choice(busy if busy and self._chance.random() < 0.8 else programs)

    def _kill(self, this: Round, what: str, *programs: Program) -> None:
        """Kill processes of the service, see that what they had at work is gone, and start others in their place."""
        trees = [Tree(program.pid) for program in programs]
        this.killed_at = self.served.kill(*programs)
        self.kills[what] += len(programs)
        seconds_until(lambda: not any(tree.members() for tree in trees), VANISHES, f"what was below {what} is gone")
        if what == "all":
            self._lose_queue()
        for program in programs:
            self.served.begin(program.role, ELSEWHERE if self.elsewhere and program.role == "worker" else [])
        seconds_until(self.served.urls, CONVERGES, "there is an API")

    def _lose_queue(self) -> None:
        """Let the queue go with all the processes, whether it is a file or in Redis: the database knows what waits."""
        for file in self.served.home.glob("queue.db*"):
            file.unlink()
        url = self.served.storage.get("OCORE_QUEUE_URL", "")
        if url.startswith("redis"):
            with redis.Redis.from_url(url) as client:
                client.flushdb()

    def _found(self, victim: str) -> list[Found]:
        return [one for one in self.served.of_runs() if (one.is_ansible if victim == "ansible" else one.is_supervisor)]

    def _kill_found(self, this: Round, victim: str) -> bool:
        """Kill a process of the run's own tree; False where there is none any more."""
        found = self._found(victim)
        with contextlib.suppress(ProcessLookupError, IndexError):
            self._chance.choice(found).kill()
            this.killed_at, this.cut = time.monotonic(), True
            self.kills[victim] += 1
            return True
        return False

    # --- afterwards ---------------------------------------------------------------------------------------------------

    def _converge(self, this: Round) -> None:
        """Check that all comes to its end, and is as it should be then."""
        seconds_until(lambda: self._has_ended(this), CONVERGES, lambda: f"the run ends: {self._row(this.run)}")
        row = self._row(this.run)
        if this.killed_at is not None:
            self.recoveries.append(time.monotonic() - this.killed_at)
            self._tell(this, f"{row.state} {row.code} after {self.recoveries[-1]:.1f} s")
        self.ends[f"{row.state} {row.code}".strip()] += 1
        assert row.state == "succeeded" or (this.cut and (row.state, row.code) == ("failed", CUT)), row
        if row.state == "failed":
            mended = self._next(this.target, self.again)
            mended.run = self._ask(mended)
            self._converge(mended)
            return
        self._assert_well(this)

    def _assert_well(self, this: Round) -> None:
        rows = self._invariants.at_rest(held="pending" in self.settles)
        assert len(rows) == self._asked, "a request made more than one run, or none"
        found = self.client.get(this.target.server)
        assert found["status"] in self.settles, found
        for program in self.served.running:
            assert program.process.poll() is None, program.said()[-3000:]
        seconds_until(
            lambda: not self.served.of_runs(),
            VANISHES,
            lambda: f"the run's processes are gone: {self.served.of_runs()}",
        )
        left = self.served.left()
        assert not left, left
        signs = watched.lines(this.target.host)
        assert not watched.overlaps(signs), signs
        if RUNS[this.kind]["kind"] == "provision":
            assert signs[-1][0] == "end", signs[-30:]

    def _tell(self, this: Round, words: str) -> None:
        log.info("round %d, %s: %s", this.number, this.kind, words)
