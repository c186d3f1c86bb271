"""Stopping really stops: whatever ends a run, nothing of it is left here or on the server, and the next run succeeds.

What this promises differs in one case only: where our own process is killed (SIGKILL), the server is cleared by the
next run. Where the machine refuses namespaces ("reduced" isolation) one promise is missing: if the supervisor itself is
killed as well, what it watched goes on, and its work folder stays until a later run (`tests/faults/test_killed.py`).
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import ocore
from tests.integration.apart import Apart, seconds_until
from tests.integration.stoppable import CLOCKS, LONG, SIGNALS, Stoppable, long_task, long_task_began
from tests.integration.support import describe, key_of, options, server
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts import Host

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)
GONE = 5.0
BEGINS = 60.0
SLOW_DPKG = "/usr/local/bin/slow-dpkg"
PLACES = "/tmp /var/tmp /dev/shm /root /home /etc/ocore /var/lib/ocore"
COOKIES = (
    "grep -lsz '^OCORE_RU[N]=' /proc/[0-9]*/environ | while read f; do tr '\\0' ' ' < ${f%environ}cmdline; echo; done"
)
# What the short form of the suite stops by.
SHORT = ("cancel", "SIGINT", "SIGKILL")
WAYS = ("cancel", "run time-out", "step time-out", "SIGINT", "SIGTERM", "SIGKILL")
# A clock that is to run out in the long task is set to the first of these at which the task had begun.
SECONDS = (6, 12, 24, 48)


@pytest.fixture(scope="module")
def bare(start: Callable[..., Host]) -> Host:
    """Return a host that no run has seen."""
    return start("root-key", docker=True)


@pytest.fixture(scope="module")
def clean(bare: Host) -> set[str]:
    """Return what is in the host's places for left-overs before any run."""
    return _files(bare)


@pytest.fixture(scope="module")
def host(bare: Host, clean: set[str]) -> Host:
    """Return a host that is provisioned, so that a run has only to do what a test undid."""
    result = ocore.provision(server(bare), options(proxy="none"))
    assert result.status == "success", describe(result)
    assert _files(bare) <= clean
    return bare


@pytest.fixture
def full() -> Iterator[Apart]:
    """Return a copy of oCore with namespaces."""
    with Apart() as copy:
        yield copy


@pytest.fixture
def reduced() -> Iterator[Apart]:
    """Return a copy of oCore that finds no bubblewrap."""
    with Apart(isolation="reduced") as copy:
        yield copy


# --- the host ---------------------------------------------------------------------------------------------------------


def _files(host: Host) -> set[str]:
    """Return every file in the places where programs leave files, but what provisioning is meant to put there."""
    found = host.exec(f"find {PLACES} -mindepth 1 2>/dev/null", check=False).stdout.splitlines()
    meant = ("/etc/ocore", "/var/lib/ocore")
    return {path for path in found if not path.startswith(meant) or path.endswith((".ocore-part", ".tmp"))}


def _at_work(host: Host) -> list[str]:
    """Return the command lines of everything that a run has going on the server, and of connections that stand."""
    cookies = host.exec(COOKIES, check=False).stdout.splitlines()
    sessions = host.exec("pgrep -af '^sshd-session: .*@notty'", check=False).stdout.splitlines()
    return cookies + sessions


# --- a run ------------------------------------------------------------------------------------------------------------


def _begin(apart: Apart, host: Host, way: str, seconds: float = 600) -> Stoppable:
    """Begin a run that installs a package; a clock that is to stop it is set to some seconds."""
    where = {"host": host.address, "port": host.ssh_port, "user": host.user}
    return _begin_at(apart, way, where, key_of(host), seconds=seconds)


def _begin_at(apart: Apart, way: str, where: dict[str, Any], key: str, *, seconds: float) -> Stoppable:
    """Begin a run: of the command line where a signal is to stop it, else of a program that uses the library."""
    if way in SIGNALS:
        (apart.root / "key").write_text(key, encoding="utf-8")
        arguments = ["--allow-loopback", "--minimum-disk-gb", "1", "--proxy", "none", "--step", "packages", "--json"]
        target = f"{where['user']}@{where['host']}:{where['port']}"
        return Stoppable(apart.ocore("provision", target, "--key", str(apart.root / "key"), *arguments), seconds)
    order = {
        "server": where,
        "credentials": {"private_key": key},
        "options": {"allow_loopback": True, "minimum_disk_gb": 1, "proxy": "none"},
        "steps": ["packages"],
        "timeout": seconds if way == "run time-out" else 600,
        "step_timeouts": {"packages": seconds} if way == "step time-out" else {},
    }
    return Stoppable(apart.driver(order), seconds)


def _begin_long_task(apart: Apart, host: Host, way: str) -> Stoppable:
    """Begin a run and return once its long task goes on."""
    for seconds in SECONDS:
        run = _begin(apart, host, way, seconds)
        seconds_until(lambda run=run: run.ended() or long_task_began(host), BEGINS, "the long task begins")
        if not run.ended():
            return run
        assert way in CLOCKS, run.lines
    raise AssertionError(f"the long task began after more than {SECONDS[-1]} s")


def _assert_gone(apart: Apart, host: Host, run: Stoppable, way: str, clean: set[str]) -> None:
    """Check that nothing is left within the time, here and (but for SIGKILL) on the server; print how long it took."""
    began = time.monotonic()
    seconds_until(run.ended, GONE, "the process itself ends")
    seconds_until(lambda: not apart.alive(), GONE, f"what it started ends: {apart.alive()}")
    here = time.monotonic() - began
    assert not apart.left()
    if way != "SIGKILL":
        seconds_until(lambda: not _at_work(host), GONE, f"its tasks on the server end: {_at_work(host)}")
        there = time.monotonic() - began
        assert there < GONE + 0.5
        assert _files(host) <= clean
        log.info("%s: all gone here after %.2f s, on the server after %.2f s", way, here, there)
    else:
        log.info("%s: all gone here after %.2f s", way, here)
    assert here < GONE


def _assert_next_succeeds(apart: Apart, host: Host, clean: set[str]) -> Stoppable:
    """Check that a run after the stopped one succeeds, and that it leaves nothing either."""
    run = _begin(apart, host, "SIGINT")
    seconds_until(run.ended, 120, "the next run ends")
    assert run.last.get("status") == "success", run.lines
    assert not apart.alive()
    assert not _at_work(host)
    assert not apart.left()
    assert _files(host) <= clean
    assert host.exec("dpkg --audit").stdout == ""
    return run


# --- the tests --------------------------------------------------------------------------------------------------------


def _stop_in_long_task(
    apart: Apart, host: Host, clean: set[str], way: str, later: float = 0, *, goes_on: bool = True
) -> None:
    with long_task(host):
        run = _begin_long_task(apart, host, way)
        apart.note_namespaces()
        assert len(apart.alive()) > 3, "the scan finds nothing even while a run goes on"
        assert any(LONG in line for line in _at_work(host)), "the scan finds nothing even while a task goes on"
        time.sleep(later)
        run.stop(way)
        _assert_gone(apart, host, run, way, clean)
        if way == "SIGKILL":
            assert any(LONG in line for line in _at_work(host)), "the server's task should have outlived us"
        else:
            assert run.code == CLOCKS.get(way, "cancelled")
    if goes_on:
        after = _assert_next_succeeds(apart, host, clean)
        assert way != "SIGKILL" or "that an earlier run had left" in after.message_of("privileges")


@pytest.mark.parametrize("way", [way if way in SHORT else pytest.param(way, marks=pytest.mark.slow) for way in WAYS])
def test_a_stop_in_a_long_task_leaves_nothing(full: Apart, host: Host, clean: set[str], way: str) -> None:
    """Whatever stops a run during a long task: all of it is gone within 5 s, and the next run succeeds.

    The next run is made for three of the ways here, since it takes a while, and for all of them at random moments.
    """
    _stop_in_long_task(full, host, clean, way, goes_on=way in {"cancel", "SIGINT", "SIGKILL"})


@pytest.mark.promise("F34")
@pytest.mark.parametrize(
    "way", [way if way == "SIGKILL" else pytest.param(way, marks=pytest.mark.slow) for way in WAYS]
)
def test_a_stop_without_namespaces_leaves_nothing(reduced: Apart, host: Host, clean: set[str], way: str) -> None:
    """The same where the machine refuses namespaces, as long as nobody kills the supervisor itself."""
    _stop_in_long_task(reduced, host, clean, way)


@pytest.mark.promise("F24")
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("way", WAYS)
def test_a_stop_at_a_random_moment_leaves_nothing(
    full: Apart, host: Host, clean: set[str], way: str, seed: int
) -> None:
    """The same at ten random moments for each way: of the long task, and of all that comes before it."""
    chance = random.Random(f"{way} {seed}")  # noqa: S311 - a moment, not a secret
    if seed % 2:
        later = chance.uniform(0, 4)
        log.info("%s, seed %s: %.3f s into the long task", way, seed, later)
        _stop_in_long_task(full, host, clean, way, later)
    else:
        moment = chance.uniform(0, 8)
        log.info("%s, seed %s: %.3f s after the start", way, seed, moment)
        _stop_anywhere(full, host, clean, way, moment)


def _stop_anywhere(apart: Apart, host: Host, clean: set[str], way: str, moment: float) -> None:
    with long_task(host):
        run = _begin(apart, host, way, moment)
        if way in CLOCKS:
            if way == "step time-out":
                seconds_until(lambda: run.step_began, BEGINS, "the step begins")
        else:
            time.sleep(moment)
        run.stop(way)
        _assert_gone(apart, host, run, way, clean)
        # A signal that comes before there is a run ends the program as it would any other.
        assert way == "SIGKILL" or not run.lines or run.code == CLOCKS.get(way, "cancelled"), run.lines
    _assert_next_succeeds(apart, host, clean)


@pytest.mark.slow
def test_a_package_that_was_half_installed_is_finished(full: Apart, host: Host, clean: set[str]) -> None:
    """A dpkg that is killed between unpacking and configuring is finished by the next run, which says so."""
    host.write(SLOW_DPKG, f'#!/bin/sh\ncase "$*" in *--configure*) {LONG} ;; esac\nexec dpkg "$@"\n', mode="0755")
    with long_task(host, f'Dir::Bin::dpkg "{SLOW_DPKG}";'):
        run = _begin_long_task(full, host, "SIGTERM")
        run.stop("SIGTERM")
        _assert_gone(full, host, run, "SIGTERM", clean)
    assert "curl" in host.exec("dpkg --audit").stdout
    after = _assert_next_succeeds(full, host, clean)
    assert any(line.get("task") == "Configure the packages that were unpacked only" for line in after.lines)
    assert host.exec("dpkg-query --show --showformat '${Status}' curl").stdout == "install ok installed"


@pytest.mark.promise("F14")
@pytest.mark.slow
def test_a_server_that_stops_answering_does_not_delay_a_stop(full: Apart, host: Host, clean: set[str]) -> None:
    """Where the server does not answer, a stopped run still ends here within 5 s; the next one clears the server."""
    with long_task(host):
        run = _begin_long_task(full, host, "cancel")
        host.pause()
        try:
            run.stop("cancel")
            took = seconds_until(lambda: run.ended() and not full.alive(), GONE, "the run ends here")
            log.info("cancel with a frozen server: all gone here after %.2f s", took)
            assert run.code == "cancelled"
            assert not full.left()
        finally:
            host.unpause()
        assert any(LONG in line for line in _at_work(host))
    assert "that an earlier run had left" in _assert_next_succeeds(full, host, clean).message_of("privileges")


@pytest.mark.promise("F33")
@pytest.mark.slow
def test_leaving_at_once_leaves_nothing_here(full: Apart, host: Host, clean: set[str]) -> None:
    """A second Ctrl-C does not wait for the server; here all is gone all the same, and the next run succeeds."""
    with long_task(host):
        run = _begin_long_task(full, host, "SIGINT")
        host.pause()
        try:
            run.stop("SIGINT")
            seconds_until(lambda: any("Stopping the run" in text for text in run.texts), GONE, "the first is heard")
            run.stop("SIGINT")
            seconds_until(lambda: run.ended() and not full.alive(), 1.0, "the program leaves at once")
            assert not full.left()
        finally:
            host.unpause()
    _assert_next_succeeds(full, host, clean)


# --- before the server is reached -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _silent_server(greeting: bytes) -> Iterator[tuple[int, threading.Event]]:
    """Listen, greet, and then say nothing more; the event tells that somebody waits."""
    stop, waited_for = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def serve() -> None:
            held = []
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = listener.accept()
                    connection.sendall(greeting)
                    held.append(connection)
                    # A greeting is enough for the first connection; the second one is ssh's.
                    if not greeting or len(held) > 1:
                        waited_for.set()
            for connection in held:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], waited_for
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize("way", ["cancel", "run time-out", "SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-Silent\r\n"], ids=["before the greeting", "in the key exchange"])
def test_a_stop_while_the_server_is_being_reached_leaves_nothing(full: Apart, greeting: bytes, way: str) -> None:
    """A server that says nothing delays no stop, and what waits for it (ssh, in the key exchange) ends, too."""
    with _silent_server(greeting) as (port, waited_for):
        run = _begin_at(
            full, way, {"host": "127.0.0.1", "port": port, "user": "root"}, private_key("ed25519"), seconds=3
        )
        assert waited_for.wait(BEGINS)
        run.stop(way)
        took = seconds_until(lambda: run.ended() and not full.alive(), 2.0, f"all of it ends: {full.alive()}")
        log.info("%s: all gone after %.2f s", way, took)
    assert not full.left()
    assert run.code == (None if way == "SIGKILL" else CLOCKS.get(way, "cancelled"))
