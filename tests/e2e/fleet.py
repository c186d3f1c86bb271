"""A fleet: 30 servers on 5 real hosts, with mixed faults, on PostgreSQL and Redis, two APIs and three workers.

`python -m tests.e2e.fleet` makes one and prints what came of it. Each server is a port of its own that leads to the
sshd of a host. A host belongs to one server, so the servers are validated and held there
(`OCORE_HOLD_AFTER_VALIDATION`); then one server of each host is provisioned.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psycopg

from tests import hosts
from tests.e2e.doors import Door
from tests.e2e.served import QUIET_SSHD, Client, Served
from tests.integration.apart import seconds_until
from tests.service.storages import Servers, free_port
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tests.hosts import Host

HOSTS = 5
HEALTHY = 20
WORKERS, SLOTS = 3, 2
ALL_SLOTS = WORKERS * SLOTS
SAMPLE = 0.2
# For a busy machine: 32 validations, and then 5 provisionings, each six at a time.
VALIDATED, PROVISIONED = 600.0, 900.0
# What each kind of server comes to, validated: its status and its run's error.
EXPECTED = {
    "healthy": ("pending", ""),
    "wrong key": ("error", "auth_denied"),
    "closed port": ("error", "connection_refused"),
    "tarpit": ("error", "connect_timeout"),
    "not ssh": ("error", "not_ssh"),
}
FAULTS = ("wrong key",) * 3 + ("closed port",) * 3 + ("tarpit",) * 2 + ("not ssh",) * 2
_LOOK = """
SELECT count(*) FILTER (WHERE state = 'running'),
       count(*) FILTER (WHERE state = 'queued'
                        AND server_id NOT IN (SELECT server_id FROM run WHERE state = 'running'))
FROM run
"""


@dataclass
class Planned:
    """A server of the fleet, and what is to come of it."""

    kind: str
    host: Host
    port: int
    id: str = ""

    def create(self, client: Client, number: int) -> None:
        """Create it."""
        fields: dict[str, Any] = {"name": f"{number:02} {self.kind}", "port": self.port, "proxyType": "none"}
        if self.kind == "wrong key":
            fields["sshPrivateKey"] = private_key("ed25519")
        self.id = client.create(self.host, **fields)["id"]


class Sampler:
    """Counts again and again what runs and what could begin."""

    def __init__(self, url: str) -> None:
        self.seen: list[tuple[int, int]] = []
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._stop.wait(SAMPLE):
                found = connection.execute(_LOOK).fetchone()
                if found is not None:
                    self.seen.append((found[0], found[1]))

    @property
    def free(self) -> list[int]:
        """How many slots were free at each look though as many runs could begin."""
        return [min(claimable, ALL_SLOTS - running) for running, claimable in self.seen]


@dataclass
class Made:
    """One run, as its row tells in the end."""

    organization: str
    server: str
    created: datetime
    started: datetime
    finished: datetime
    worker: str


@dataclass
class Report:
    """What came of a fleet."""

    wrong: list[str] = field(default_factory=list)
    runs: list[Made] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    most: int = 0
    idle_share: float = 0.0
    idle_slots: float = 0.0
    longest_idle: float = 0.0
    second_waited: list[float] = field(default_factory=list)
    first_still_waiting: int = 0
    reached: Counter[str] = field(default_factory=Counter)

    @property
    def overlaps(self) -> list[tuple[str, str]]:
        """Pairs of runs of one server that went on at one time."""
        runs = sorted(self.runs, key=lambda run: (run.server, run.started))
        return [
            (str(one), str(other))
            for one, other in itertools.pairwise(runs)
            if one.server == other.server and other.started < one.finished
        ]

    def lines(self) -> Iterator[str]:
        """Yield the table."""
        for name, count in sorted(self.reached.items()):
            yield f"{name:<45} {count:>8}"
        for name, seconds in self.seconds.items():
            yield f"{name + ', s':<45} {seconds:>8.1f}"
        yield f"{'servers in another state than expected':<45} {len(self.wrong):>8}"
        yield f"{'runs':<45} {len(self.runs):>8}"
        yield f"{'pairs of runs of a server at one time':<45} {len(self.overlaps):>8}"
        workers = Counter(run.worker for run in self.runs)
        yield f"{'runs by worker':<45} {' '.join(map(str, sorted(workers.values()))):>8}"
        yield f"{'most runs at one time (slots: 6)':<45} {self.most:>8}"
        yield f"{'samples (every 0.2 s) while a run could begin':<45} {self.samples:>8}"
        yield f"{'of these, with a slot free':<45} {self.idle_share:>8.1%}"
        yield f"{'of all slots then, free':<45} {self.idle_slots:>8.1%}"
        yield f"{'longest such time, s':<45} {self.longest_idle:>8.1f}"
        waited = " ".join(f"{one:.1f}" for one in self.second_waited)
        yield f"{'second organization waited, s':<45} {waited:>8}"
        yield f"{'of the first one still waiting then':<45} {self.first_still_waiting:>8}"


@contextlib.contextmanager
def planned(found: list[Host]) -> Iterator[tuple[list[Planned], list[Planned]]]:
    """Give the first organization's thirty servers, and the second one's two."""
    with contextlib.ExitStack() as doors:

        def one(kind: str, host: Host) -> Planned:
            if kind == "closed port":
                return Planned(kind, host, free_port())
            to = {"tarpit": None, "not ssh": host.http_port}.get(kind, host.ssh_port)
            return Planned(kind, host, doors.enter_context(Door(to)).port)

        around = itertools.cycle(found)
        kinds = ["healthy"] * HEALTHY
        for place, fault in enumerate(FAULTS):
            kinds.insert(place * 3 + 1, fault)
        yield [one(kind, next(around)) for kind in kinds], [one("healthy", next(around)) for _ in range(2)]


def make(served: Served, found: list[Host]) -> Report:
    """Make a fleet on a service that has no processes yet, and report."""
    report = Report()
    served.start("api", "api", *["worker"] * WORKERS)
    first, second = served.client("first"), served.client("second")
    with planned(found) as (thirty, two), Sampler(served.storage["OCORE_DATABASE_URL"]) as sampler:
        began = time.monotonic()
        for servers, client in ((thirty, first), (two, second)):
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(Planned.create, servers, itertools.repeat(client), itertools.count()))
        report.seconds["32 servers created"] = time.monotonic() - began
        _wait(served, VALIDATED)
        report.seconds["32 servers validated"] = time.monotonic() - began
        _judge(report, first, thirty)
        _judge(report, second, two)
        _fairness(report, served)
        _provision(report, served, first, thirty)
    _count(report, served, sampler)
    return report


def _wait(served: Served, seconds: float) -> None:
    """Wait until nothing waits or runs."""
    seconds_until(
        lambda: served.rows("SELECT count(*) FROM run WHERE finished_at IS NULL") == [(0,)], seconds, "all runs end"
    )


def _judge(report: Report, client: Client, servers: list[Planned]) -> None:
    """Compare what each server came to with what it should have."""
    for server in servers:
        now, run = client.get(server.id), client.runs(server.id)[0]
        came_to = now["status"], run["errorCode"]
        report.reached[f"{server.kind}: {' '.join(came_to)}"] += 1
        if came_to != EXPECTED[server.kind]:
            report.wrong.append(f"{now['name']}: {came_to} {now['statusMessage']}")


def _runs(served: Served) -> list[Made]:
    query = (
        "SELECT organization.name, server_id, run.created_at, started_at, finished_at, lease_owner FROM run "
        "JOIN organization ON organization.id = organization_id ORDER BY run.id"
    )
    return [Made(*row) for row in served.rows(query)]


def _fairness(report: Report, served: Served) -> None:
    """Say how long the second organization waited, and how many of the first one's waited still."""
    runs = _runs(served)
    second = [run for run in runs if run.organization == "second"]
    report.second_waited = [(run.started - run.created).total_seconds() for run in second]
    last = max(run.started for run in second)
    report.first_still_waiting = sum(run.started > last for run in runs if run.organization == "first")


def _provision(report: Report, served: Served, client: Client, servers: list[Planned]) -> None:
    """Provision one server of each host."""
    began = time.monotonic()
    chosen = {server.host.name: server for server in servers if server.kind == "healthy"}.values()
    for server in chosen:
        client.ask(server.id)
    _wait(served, PROVISIONED)
    report.seconds["5 servers provisioned"] = time.monotonic() - began
    for server in chosen:
        now = client.get(server.id)
        report.reached[f"provisioned: {now['status']}"] += 1
        if now["status"] != "active":
            report.wrong.append(f"{now['name']}: {now['status']} {now['statusMessage']}")


def _count(report: Report, served: Served, sampler: Sampler) -> None:
    report.runs = _runs(served)
    free = sampler.free
    report.most = max(running for running, _ in sampler.seen)
    report.samples = sum(claimable > 0 for _, claimable in sampler.seen)
    report.idle_share = sum(one > 0 for one in free) / max(1, report.samples)
    report.idle_slots = sum(free) / max(1, report.samples * ALL_SLOTS)
    stretches = (len(list(group)) for idle, group in itertools.groupby(one > 0 for one in free) if idle)
    report.longest_idle = SAMPLE * max(stretches, default=0)


@contextlib.contextmanager
def started() -> Iterator[list[Host]]:
    """Give the hosts, and remove them."""
    found: list[Host] = []
    try:
        for _ in range(HOSTS):
            found.append(hosts.up("root-key", docker=True))
            found[-1].write("/etc/ssh/sshd_config.d/ocore-test-quiet.conf", QUIET_SSHD)
            found[-1].exec("systemctl restart ssh")
            found[-1].wait_until_booted()
        yield found
    finally:
        for host in found:
            host.remove()


@contextlib.contextmanager
def service(servers: Servers, folder: Path) -> Iterator[Served]:
    """Give the service of a fleet, without processes."""
    with (
        servers.environment("postgres") as storage,
        Served(folder, storage, workers=SLOTS, hold_after_validation="true") as served,
    ):
        yield served


def main() -> int:
    """Make a fleet and print the table."""
    with (
        tempfile.TemporaryDirectory() as folder,
        started() as found,
        Servers() as servers,
        service(servers, Path(folder)) as served,
    ):
        report = make(served, found)
    sys.stdout.write("\n".join([*report.lines(), *report.wrong]) + "\n")
    return int(bool(report.wrong or report.overlaps))


if __name__ == "__main__":
    sys.exit(main())
