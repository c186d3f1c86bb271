"""`python -m tests.faults.soak`: a service with many servers under a bounded load; says what came of it.

It starts five test hosts and provisions them, which takes two minutes or so, and then begins to count. It ends with 1
where something failed, or where memory, file descriptors or threads of the API or the worker grew by more than a tenth
from the second quarter of the time to the last, in the moments when little is under way. Ctrl-C ends it early, with its
figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.fleet import HOSTS, started
from tests.faults import watched
from tests.faults.marked import Marked
from tests.faults.soak import crowd
from tests.faults.soak.doors import Doors
from tests.faults.soak.gauge import Gauge
from tests.faults.soak.traffic import Traffic
from tests.hosts import HostError, engine
from tests.integration.apart import seconds_until
from tests.service.storages import NAMES, Missing, Servers, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.hosts import Host

# Of the servers; each address is a port of this machine.
LEAST, MOST = 10, 2000
TAKEN_IN = 1200.0
EVERY = 5.0
QUARTERS = 4
MINUTE = 60.0
# As a service has them, not as tests that wait for something lost want them.
AS_USUAL = {
    "lease_seconds": 30,
    "heartbeat_seconds": 5,
    "sweep_seconds": 2,
    "monitor": "true",
    "monitor_interval": 60,
    "monitor_rate": 5,
    "agent_interval": 30,
    "log_level": "info",
    "log_format": "json",
    "rate_organization": 1200,
}


@dataclass(frozen=True)
class Soaked:
    """What came of a soak."""

    gauge: Gauge
    traffic: Traffic
    visits: int
    minutes: float
    wrong: list[str]

    def figures(self) -> dict[str, Any]:
        """Return all of it, for machines."""
        courses = [one.__dict__ | {"flat": one.is_flat} for one in self.gauge.courses()]
        return {
            "minutes": round(self.minutes, 1),
            "processes": courses,
            "requests": {name: _percentiles(times) for name, times in sorted(self.traffic.times.items())},
            "runs": dict(sorted(self.traffic.runs.items())),
            "probes": self.visits,
            "wrong": self.wrong,
        }


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    """Return how many there were, and how long they took, in milliseconds."""
    ordered = sorted(times)
    at = {
        f"p{share}": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)] * 1000, 1)
        for share in (50, 95, 99)
    }
    return {"count": len(ordered)} | at | {"most": round(ordered[-1] * 1000, 1)}


def _lines(figures: dict[str, Any]) -> Iterator[str]:
    """Yield the report, for people."""
    yield f"{figures['minutes']} minutes, {figures['probes']} connections to the servers' addresses"
    yield f"{'process':<10} {'figure':<18} {'2nd quarter':>12} {'last quarter':>13} {'most':>8}"
    for one in figures["processes"]:
        figures_of = f"{one['early']:>12.1f} {one['late']:>13.1f} {one['most']:>8.1f}"
        yield f"{one['process']:<10} {one['figure']:<18} {figures_of}  {'flat' if one['flat'] else 'GROWS'}"
    yield f"{'request or run':<24} {'count':>7} {'50 %':>9} {'95 %':>9} {'99 %':>9} {'most':>9}  ms"
    for name, of in figures["requests"].items():
        yield f"{name:<24} {of['count']:>7.0f} {of['p50']:>9} {of['p95']:>9} {of['p99']:>9} {of['most']:>9}"
    for name, count in figures["runs"].items():
        yield f"{name:<40} {count:>6}"
    yield f"wrong: {len(figures['wrong'])}"
    yield from (f"{count:>6} x {words}" for words, count in Counter(figures["wrong"]).most_common(50))


def _soak(served: Marked, hosts: Sequence[Host], given: argparse.Namespace) -> Soaked:
    """Fill a service, and keep it busy."""
    programs = served.start("api", "worker")
    tenants = [crowd.Tenant(served.client(f"tenant {number}"), host) for number, host in enumerate(hosts)]
    _say(f"provisioning {len(hosts)} hosts")
    crowd.taken_in(tenants, TAKEN_IN)
    to = [hosts[number % len(hosts)].ssh_port for number in range(given.servers - len(hosts))]
    with Doors(to) as doors:
        agents = crowd.crowded(served, tenants, doors)
        traffic, gauge = Traffic(tenants, agents, given.seed), Gauge(programs)
        traffic.start(given.requests, given.heartbeats, given.pause)
        began = time.monotonic()
        _say(f"{given.servers} servers, {given.minutes:g} minutes")
        with contextlib.suppress(KeyboardInterrupt):
            _watch(gauge, traffic, began + given.minutes * MINUTE)
        minutes = (time.monotonic() - began) / MINUTE
        traffic.stop()
        return Soaked(gauge, traffic, doors.visits, minutes, [*traffic.wrong, *_wrong(served, hosts, gauge)])


def _watch(gauge: Gauge, traffic: Traffic, until: float) -> None:
    minute = time.monotonic() + MINUTE
    while time.monotonic() < until and all(program.process.poll() is None for program in gauge.programs):
        gauge.look(EVERY)
        if time.monotonic() > minute:
            minute += MINUTE
            _say(f"{(until - time.monotonic()) / MINUTE:.0f} minutes to go: {traffic.told()}")
        time.sleep(1)


def _wrong(served: Marked, hosts: Sequence[Host], gauge: Gauge) -> Iterator[str]:
    """Yield what is not as it should be in the end."""
    with contextlib.suppress(AssertionError):
        seconds_until(lambda: not served.of_runs(), MINUTE, "the processes of all runs are gone")
    yield from (f"still there: {found}" for found in served.of_runs())
    yield from (f"left here: {name}" for name in served.left())
    yield from (f"left at work: {words}" for host in hosts for words in watched.at_work(host))
    standing = served.rows("SELECT name, status, status_message FROM server WHERE status <> 'active'")
    yield from (f"not active: {name}: {status} {message}" for name, status, message in standing)
    for program in gauge.programs:
        yield from (f"{program.role} logged: {line[:500]}" for line in program.said().splitlines() if _is_bad(line))
        if program.process.poll() is not None:
            yield f"{program.role} ended with {program.process.returncode}"
    lost = served.rows("SELECT action, count(*) FROM audit_entry WHERE action LIKE 'server.%' GROUP BY action")
    yield from (f"{count} times {action}" for action, count in lost if action in {"server.unreachable", "server.error"})
    if len(gauge.seen) < QUARTERS:
        yield f"measured {len(gauge.seen)} times only: that is too short for a judgement"
    yield from (f"{one.process}: {one.figure} grew" for one in gauge.courses() if not one.is_flat)


def _is_bad(line: str) -> bool:
    return any(word in line for word in ('"level": "error"', '"level": "critical"', "Traceback"))


def _say(words: str) -> None:
    sys.stderr.write(f"soak: {words}\n")
    sys.stderr.flush()


def _positive(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (number := float(text)) < float("inf"):
            return number
    raise argparse.ArgumentTypeError("must be a number above 0")


def _many(text: str) -> int:
    number = int(text)
    if not LEAST <= number <= MOST:
        raise argparse.ArgumentTypeError(f"must be from {LEAST} to {MOST}")
    return number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=_positive, default=60, help="how long, once the hosts are provisioned (60)")
    parser.add_argument(
        "--servers", type=_many, default=500, help=f"servers in the database, {HOSTS} of them real (500)"
    )
    parser.add_argument("--storage", choices=NAMES, default=NAMES[1], help="SQLite, or PostgreSQL and Redis (postgres)")
    parser.add_argument("--requests", type=_positive, default=5, help="requests a second (5)")
    parser.add_argument("--heartbeats", type=_positive, default=4, help="heartbeats of agents a second (4)")
    parser.add_argument("--pause", type=_positive, default=15, help="seconds from one run to the next, at least (15)")
    parser.add_argument("--seed", default="soak", help="where everything random comes from")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def main() -> int:
    """Soak, and print what came of it."""
    given = _arguments()
    try:
        soaked = _made(given)
    except (HostError, Missing) as error:
        _say(f"{error}; `./dev setup` prepares what is needed")
        return 3
    except KeyboardInterrupt:
        _say("ended before it began; there are no figures")
        return 130
    figures = soaked.figures()
    sys.stdout.write("\n".join([json.dumps(figures, indent=2)] if given.json else _lines(figures)) + "\n")
    return int(bool(soaked.wrong))


def _made(given: argparse.Namespace) -> Soaked:
    """Start hosts and a service, soak, and remove them."""
    where = {"host": engine.gateway(), "port": free_port()}
    where["agent_url"] = f"http://{where['host']}:{where['port']}"
    with (
        tempfile.TemporaryDirectory(prefix="ocore-soak-") as folder,
        started() as hosts,
        Servers() as servers,
        servers.environment(given.storage) as storage,
        Marked(Path(folder), storage, **AS_USUAL, **where) as served,
    ):
        return _soak(served, hosts, given)


if __name__ == "__main__":
    sys.exit(main())
