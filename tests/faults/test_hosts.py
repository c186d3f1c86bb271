"""Real hosts that break in the middle of a run: it ends in time, leaves nothing here, and the next one goes on."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

import pytest

import ocore
from tests.hosts import engine
from tests.integration.apart import Apart, seconds_until
from tests.integration.stoppable import HOOK, LONG, Stoppable, long_task, long_task_began
from tests.integration.support import describe, key_of, options, server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts import Host

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
# A host that says nothing is noticed after 15 s; the rest is for a busy machine.
NOTICED = 120.0
BEGINS = 300.0
ENDS = 600.0
LOST = {"connection_lost", "connect_timeout"}
# All but what stays within the host.
CUT = "iptables -I INPUT ! -i lo -j DROP; iptables -I OUTPUT ! -o lo -j DROP"
WORK = "iptables -F INPUT; iptables -F OUTPUT"
# The processes of sshd that serve logins; and the one that listens, too.
SESSIONS, ALL = "^sshd-session: ", "^sshd"


@pytest.fixture(scope="module")
def host(start: Callable[..., Host]) -> Host:
    """Return a host that is provisioned, so that a run has only to do what a test undid."""
    found = start("root-key")
    result = ocore.provision(server(found), options(proxy="none"))
    assert result.ok, describe(result)
    return found


@pytest.fixture
def apart() -> Iterator[Apart]:
    """Return a copy of oCore, by which all that a run leaves here is found."""
    with Apart() as copy:
        yield copy


def _begin(apart: Apart, host: Host) -> Stoppable:
    """Begin a run that installs a package."""
    order = {
        "server": {"host": host.address, "port": host.ssh_port, "user": host.user},
        "credentials": {"private_key": key_of(host)},
        "options": {"allow_loopback": True, "minimum_disk_gb": 1, "proxy": "none"},
        "steps": ["packages"],
    }
    return Stoppable(apart.driver(order), 0)


def _in_the_long_task(apart: Apart, host: Host) -> Stoppable:
    """Begin a run, and return once its long task goes on."""
    run = _begin(apart, host)
    seconds_until(lambda: run.ended() or long_task_began(host), BEGINS, "the long task begins")
    assert not run.ended(), run.lines
    return run


def _lost(apart: Apart, run: Stoppable) -> float:
    """Check that a run ends since its server is lost, and leaves nothing here; return how long that took."""
    took = seconds_until(run.ended, NOTICED, lambda: f"the run ends: {run.lines[-3:]}")
    assert run.code in LOST, run.lines
    seconds_until(lambda: not apart.alive(), 5, lambda: f"what it started ends: {apart.alive()}")
    assert not apart.left()
    return took


def _goes_on(apart: Apart, host: Host) -> tuple[str, float]:
    """Check that the next run succeeds; return what it says of the last one's left-overs, and how long it took."""
    run = _begin(apart, host)
    took = seconds_until(run.ended, ENDS, "the next run ends")
    assert run.last.get("status") == "success", run.lines
    assert not apart.alive()
    assert not apart.left()
    assert not host.exec(f"pgrep -f '^{LONG}'", check=False).stdout
    assert host.exec("dpkg --audit").stdout == ""
    return run.message_of("privileges"), took


@contextlib.contextmanager
def _cut_off(host: Host) -> Iterator[None]:
    """Break the network of a host without a word to anybody; what goes on in it goes on."""
    host.exec(CUT)
    try:
        yield
    finally:
        host.exec(WORK)


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.promise("F12")
def test_a_network_that_heals_at_once_costs_nothing(apart: Apart, host: Host) -> None:
    """A break of a few seconds in the middle of a step is not even noticed."""
    with long_task(host):
        run = _in_the_long_task(apart, host)
        with _cut_off(host):
            time.sleep(6)
        seconds_until(run.ended, ENDS, "the run ends")
        assert run.last.get("status") == "success", run.lines
    assert not apart.left()


@pytest.mark.promise("F12")
def test_a_network_that_heals_later_is_gone_on_from(
    apart: Apart, host: Host, record_property: Callable[[str, object], None]
) -> None:
    """The run ends as lost within its time; once the network is back, the next one ends what was left, and succeeds."""
    with long_task(host):
        run = _in_the_long_task(apart, host)
        with _cut_off(host):
            took = _lost(apart, run)
        assert long_task_began(host), "the server's task should have outlived the connection"
        host.exec(f"rm -f {HOOK}")
        said, next_took = _goes_on(apart, host)
    assert "that an earlier run had left" in said
    log.info("lost after %.1f s; the next run took %.1f s", took, next_took)
    record_property("recovery", took + next_took)


@pytest.mark.promise("F12", "F11")
def test_a_network_that_does_not_heal_ends_each_run_in_time(apart: Apart, host: Host) -> None:
    """As long as it is broken, the next runs end soon, too, and each says so; when it is whole, one succeeds."""
    with long_task(host):
        run = _in_the_long_task(apart, host)
        with _cut_off(host):
            lost = [_lost(apart, run), *(_lost(apart, _begin(apart, host)) for _ in range(2))]
        log.info("lost after %s s", [round(one, 1) for one in lost])
    _goes_on(apart, host)


# --- a server that stops answering after the login --------------------------------------------------------------------


@contextlib.contextmanager
def _stalled(host: Host, which: str) -> Iterator[None]:
    """Stop processes of sshd; in the end it listens as before, and nothing of what served logins is left."""
    host.exec(f"pkill -STOP -f '{which}'")
    try:
        yield
    finally:
        host.exec(f"pkill -KILL -f '{SESSIONS}'; pkill -CONT -f '{ALL}'", check=False)


@pytest.mark.promise("F14")
def test_a_server_that_stalls_right_after_the_login_ends_the_run_in_time(apart: Apart, host: Host) -> None:
    """The run ends as lost, within its time, and nothing of it is left here."""
    run = _logged_in(apart, host)
    with _stalled(host, ALL):
        log.info("lost after %.1f s", _lost(apart, run))
    _goes_on(apart, host)


@pytest.mark.promise("F14")
def test_a_connection_that_stalls_right_after_the_login_holds_up_no_run(apart: Apart, host: Host) -> None:
    """Where the server answers to new connections, the run goes on by one, or ends as lost; it does not hang."""
    run = _logged_in(apart, host)
    with _stalled(host, SESSIONS):
        took = seconds_until(run.ended, ENDS, "the run ends")
    log.info("%s after %.1f s", run.code or "success", took)
    assert run.code in {None, *LOST}, run.lines
    assert not apart.alive()
    assert not apart.left()
    _goes_on(apart, host)


def _logged_in(apart: Apart, host: Host) -> Stoppable:
    """Begin a run, and return when it has logged in."""
    run = _begin(apart, host)
    seconds_until(lambda: run.ended() or any(line.get("began") == "detect" for line in run.lines), BEGINS, "it logs in")
    assert not run.ended(), run.lines
    return run


@pytest.mark.promise("F14")
def test_a_connection_that_stalls_in_a_step_ends_the_run_in_time(
    apart: Apart, host: Host, record_property: Callable[[str, object], None]
) -> None:
    """The run ends as lost; the next one ends what the stalled one had at work, and succeeds."""
    with long_task(host):
        run = _in_the_long_task(apart, host)
        with _stalled(host, SESSIONS):
            took = _lost(apart, run)
            assert long_task_began(host), "the server's task should have outlived the connection"
            host.exec(f"rm -f {HOOK}")
            said, next_took = _goes_on(apart, host)
    assert "that an earlier run had left" in said
    log.info("lost after %.1f s; the next run took %.1f s", took, next_took)
    record_property("recovery", took + next_took)


# --- a server that starts anew ----------------------------------------------------------------------------------------


@pytest.mark.promise("F15")
@pytest.mark.parametrize("how", ["power", "reboot"])
def test_a_server_that_starts_anew_in_a_step_is_gone_on_with(
    apart: Apart, host: Host, how: str, record_property: Callable[[str, object], None]
) -> None:
    """The run ends as lost, and the next one succeeds on the server that is up again."""
    with long_task(host):
        run = _in_the_long_task(apart, host)
        try:
            host.kill() if how == "power" else engine.run("stop", "--time", "20", host.container)
            took = _lost(apart, run)
        finally:
            # Whatever was found: later tests have the same host.
            host.start()
        host.exec(f"rm -f {HOOK}")
        _, next_took = _goes_on(apart, host)
    log.info("%s: lost after %.1f s; the next run took %.1f s", how, took, next_took)
    record_property("recovery", took + next_took)
