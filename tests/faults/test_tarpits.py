"""Servers that waste time: each run to one ends at its deadline, and nobody else waits for it."""

from __future__ import annotations

import logging
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import ocore
from ocore.ssh.hostkey import PROBE_SECONDS
from ocore.ssh.options import CONNECT_SECONDS
from tests.e2e.doors import Door
from tests.faults.tarpit import MODES, Tarpit
from tests.faults.times import took, waited
from tests.hosts import VARIANTS
from tests.integration.apart import seconds_until
from tests.integration.support import OPTIONS, describe
from tests.service.storages import free_port
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.e2e.served import Client, Served
    from tests.hosts import Host

# Run by `./dev faults`: the whole of them takes longer than everybody's tests may.
pytestmark = pytest.mark.slow

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)
# How long a server may take that has an address: to connect and to greet, then for the key exchange. What is known by a
# name has the time to look that up before it.
LONGEST = CONNECT_SECONDS + PROBE_SECONDS
# A sandbox starts meanwhile, and programs end; on a machine that has other things to do.
BUSY = 30.0
DEADLINE = LONGEST + BUSY
# One that does not greet is left before the key exchange.
UNGREETED = {"silent", "a banner by drops", "lines by drops", "a flood"}
EACH = 16
MANY = 1000
# A real provisioning on a machine that has other things to do.
PROVISIONED = 900.0
SLOTS = 4
# The sweeper, the monitor and the bell have each come round many times by then.
QUIET = 15.0
REFUSED = {"connect_timeout", "not_ssh"}


def _validated(port: int) -> tuple[ocore.RunResult, float]:
    """Make a run to a port of this machine, and say how long it took."""
    began = time.monotonic()
    aim = ocore.Server("127.0.0.1", ocore.Credentials(private_key=private_key("ed25519")), port=port)
    return ocore.validate(aim, OPTIONS), time.monotonic() - began


@pytest.mark.promise("F13", "F11")
def test_a_tarpit_is_left_at_the_deadline(record_property: Callable[[str, object], None]) -> None:
    """Each kind of tarpit ends its run within the time, is tried once, and is left by all that connected to it."""
    assert (CONNECT_SECONDS, PROBE_SECONDS) == (10, 20), "the rows of the matrix name these"
    with ExitStack() as open_ones, ThreadPoolExecutor(len(MODES)) as pool:
        tarpits = {mode: open_ones.enter_context(Tarpit(mode)) for mode in MODES}
        results = dict(zip(MODES, pool.map(_validated, [one.ports[0] for one in tarpits.values()]), strict=True))
        for mode, (result, seconds) in results.items():
            log.info("%s: %s after %.1f s", mode, result.error.code if result.error else None, seconds)
            assert result.error is not None, mode
            assert result.error.code in REFUSED, describe(result)
            assert seconds < (CONNECT_SECONDS if mode in UNGREETED else LONGEST) + BUSY, mode
            # One to see who greets, and one of ssh's for the host key.
            assert sum(tarpits[mode].visits.values()) <= 2, mode
        seconds_until(lambda: not any(one.held for one in tarpits.values()), 10, "nobody is connected any more")
    record_property("runs", len(MODES))
    record_property("recovery", max(seconds for _, seconds in results.values()))


# --- a service with two organizations ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_host(start: Callable[..., Host]) -> Host:
    """Start a host for all of these tests."""
    return start("root-key")


@pytest.fixture
def host(one_host: Host) -> Host:
    """Return a host of the quiet organization, which belongs to no other test's service."""
    one_host.disown()
    return one_host


def _create(client: Client, host: Host, ports: list[int]) -> list[str]:
    """Create a server for each port of this machine; return their ids."""

    def one(port: int) -> str:
        return str(client.create(host, name=f"tarpit-{port}", port=port, proxyType="none")["id"])

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, ports))


def _made(client: Client, server: str) -> dict[str, Any]:
    """Have a real server validated and two of its steps made again, and return the run."""
    run = client.ended(client.ask(server, force=True, steps=["packages", "runtime"])["id"], PROVISIONED)
    assert run["state"] == "succeeded", run
    return run


def _left_in_time(client: Client, servers: list[str]) -> float:
    """Check that each run to a tarpit ends by its deadline, at its first attempt; return how long the longest took."""
    runs = [client.ended(client.runs(server)[0]["id"], 300) for server in servers]
    assert {(run["state"], run["attempt"]) for run in runs} == {("failed", 1)}
    assert {run["errorCode"] for run in runs} <= REFUSED
    longest = max(map(took, runs))
    assert longest < DEADLINE
    return longest


@pytest.mark.promise("F13", "A12")
@pytest.mark.timeout(3600)
def test_a_provisioning_goes_on_beside_sixteen_tarpits_of_each_kind(
    serve: Callable[..., AbstractContextManager[Served]], host: Host, record_property: Callable[[str, object], None]
) -> None:
    """A real server is provisioned while another organization's tarpits fill all slots: it waits little, and succeeds.

    How long it takes is told beside what it takes when nobody disturbs it.
    """
    with serve("sqlite", workers=SLOTS) as served:
        served.start("api", "worker")
        quiet, noisy = served.client("quiet"), served.client("noisy")
        server = quiet.create(host, proxyType="none")["id"]
        quiet.until(server, "active", PROVISIONED)
        alone, beside, longest = [took(_made(quiet, server))], [], 0.0
        for mode in MODES:
            with Tarpit(mode, EACH) as tarpit:
                tarpits = _create(noisy, host, tarpit.ports)
                run = _made(quiet, server)
                longest = max(longest, _left_in_time(noisy, tarpits))
                assert max(tarpit.visits.values()) <= 2
                beside.append(took(run))
                log.info("%s: waited %.1f s, took %.1f s (alone: %.1f s)", mode, waited(run), beside[-1], alone[0])
                # A slot is free after one tarpit's end at the latest.
                assert waited(run) < DEADLINE
                seconds_until(lambda tarpit=tarpit: not tarpit.held, 10, "nobody is connected any more")
                # The next ones may be at the same ports.
                for one in tarpits:
                    noisy.delete(one)
        alone.append(took(_made(quiet, server)))
        ratio = statistics.median(beside) / statistics.mean(alone)
        log.info("alone %s, beside tarpits %s: ratio %.2f; longest tarpit %.1f s", alone, beside, ratio, longest)
        record_property("runs", EACH * len(MODES))
        record_property("recovery", longest)
        record_property("ratio", round(ratio, 2))


@pytest.mark.promise("F32", "A12")
@pytest.mark.timeout(1800)
def test_a_run_begins_soon_though_a_thousand_wait(
    serve: Callable[..., AbstractContextManager[Served]], host: Host, record_property: Callable[[str, object], None]
) -> None:
    """While one organization has a thousand runs to tarpits, each of another one's runs begins with the next slot."""
    with (
        Tarpit("a key exchange by drops", MANY) as tarpit,
        serve("sqlite", workers=SLOTS, quota_runs=0, quota_servers=0) as served,
    ):
        served.start("api", "worker")
        noisy, quiet = served.client("noisy"), served.client("quiet")
        began = time.monotonic()
        _create(noisy, host, tarpit.ports)
        queued = "SELECT count(*) FROM run WHERE state = 'queued'"
        [(waiting,)] = served.rows(queued)
        log.info("%d created in %.0f s, %d of them wait", MANY, time.monotonic() - began, waiting)
        assert waiting > MANY / 2
        server = quiet.create(host, proxyType="none", name="quiet")["id"]
        quiet.until(server, "active", PROVISIONED)
        runs = [quiet.runs(server)[0], *(_made(quiet, server) for _ in range(2))]
        times = [waited(run) for run in runs]
        [(waiting,)] = served.rows(queued)
        log.info("another organization's runs waited %s s; %d wait still", times, waiting)
        assert max(times) < DEADLINE
        assert waiting > MANY / 4
        record_property("runs", MANY)
        record_property("recovery", max(times))


@pytest.mark.promise("F11", "F20")
@pytest.mark.timeout(900)
def test_a_server_that_failed_is_left_alone(
    serve: Callable[..., AbstractContextManager[Served]], host: Host, record_property: Callable[[str, object], None]
) -> None:
    """After a failure nothing connects again by itself, whatever the reason, though there is a monitor."""
    with (
        serve("sqlite", monitor="true") as served,
        Tarpit("silent") as silent,
        Tarpit("a flood") as flood,
        Door(host.ssh_port) as door,
        Door(host.ssh_port) as other_door,
    ):
        # It lets him in, and lets him do nothing.
        ops = VARIANTS["no-sudo"].apply(host)
        served.start("api", "worker")
        client = served.client()
        aims = {"silent": silent.ports[0], "flood": flood.ports[0], "wrong key": door.port, "nobody": free_port()}
        made = {
            name: client.create(host, name=name, port=port, proxyType="none", sshPrivateKey=private_key("ed25519"))
            for name, port in aims.items()
        }
        made["no sudo"] = client.create(ops, name="no sudo", port=other_door.port, proxyType="none")
        runs = {name: client.ended(client.runs(server["id"])[0]["id"], 120) for name, server in made.items()}

        def visited() -> list[int]:
            return [sum(silent.visits.values()), sum(flood.visits.values()), door.visits, other_door.visits]

        visits = visited()
        log.info("%s; connections: %s", {name: (run["errorCode"], took(run)) for name, run in runs.items()}, visits)
        assert [run["errorCode"] for run in runs.values()] == [
            "connect_timeout",
            "not_ssh",
            "auth_denied",
            "connection_refused",
            "sudo_password_required",
        ]
        # Its greeting, its host key, and the login; to the others it does not come to that.
        assert visits == [1, 1, 3, 3]
        time.sleep(QUIET)
        assert visited() == visits
        assert all(len(client.runs(server["id"])) == 1 for server in made.values())
        record_property("runs", len(runs))
        record_property("recovery", max(map(took, runs.values())))
