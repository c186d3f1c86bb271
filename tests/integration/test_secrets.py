"""Keys and passwords are nowhere but where they must be: canaries, and a scan for them during and after runs.

Looked through are, here: what was written to disk and to shared memory, the arguments and environment of every process,
all files that our processes have open, what ansible-runner keeps while it runs, our output and every event; and on the
server: its disk, its processes and its journal. In a run's own memory-backed folder, which no other namespace sees,
passwords may be while it goes on. Without namespaces ("reduced" isolation) they may be in a folder of this user's in
shared memory meanwhile; that folder goes with the run.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from ocore import sandbox
from tests.hosts.state import CHECKOUT
from tests.integration import canary, scanning
from tests.integration.apart import SHARED_MEMORY, Apart, seconds_until
from tests.integration.stoppable import Stoppable, long_task, long_task_began

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts import Host

# What people, and programs, stumble over.
AWKWARD = " '\"`$HOME\\ {{ 1+1 }}{% raw %} %s%% #;&|<>()*? éß漢☂ -n"
BEGINS = 90.0


@dataclasses.dataclass
class Secrets:
    """The secrets of one host, and since when there are any."""

    key: str
    public: str
    login: str
    sudo: str
    scan: canary.Scan
    patterns: dict[str, set[bytes]]
    since: float


def _make() -> Secrets:
    made = ed25519.Ed25519PrivateKey.generate()
    raw, form = serialization.Encoding.Raw, serialization.PrivateFormat
    seed = made.private_bytes(raw, form.Raw, serialization.NoEncryption())
    pem = made.private_bytes(serialization.Encoding.PEM, form.OpenSSH, serialization.NoEncryption()).decode()
    public = made.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    login, sudo = (secrets.token_urlsafe(12) + AWKWARD + secrets.token_urlsafe(6) for _ in range(2))
    patterns = {
        "the key": canary.key_spellings(pem, seed),
        "the login password": canary.spellings(login),
        "the sudo password": canary.spellings(sudo),
    }
    return Secrets(pem, public, login, sudo, canary.Scan(patterns), patterns, time.time() - 2)


@pytest.fixture(scope="module")
def made() -> Secrets:
    """Return a key and two passwords that nobody else has."""
    return _make()


@pytest.fixture(scope="module")
def host(start: Callable[..., Host], made: Secrets) -> Host:
    """Return a host whose user logs in with the key or a password, and for sudo gives another password: root's."""
    host = start("sudo-password", docker=True)
    host.write("/etc/sudoers.d/ops", "Defaults rootpw\nops ALL=(ALL:ALL) ALL\n", mode="0440")
    host.write("/home/ops/.ssh/authorized_keys", made.public + "\n")
    host.write("/root/.ssh/authorized_keys", made.public + "\n", mode="0600")
    host.exec("chpasswd", stdin=f"ops:{made.login}\nroot:{made.sudo}\n")
    return host


# --- scanning ---------------------------------------------------------------------------------------------------------


def _on_disk(made: Secrets) -> list[str]:
    return scanning.on_disk(made.scan, made.since)


def _on_server(host: Host, made: Secrets) -> list[str]:
    return scanning.on_server(host, made.patterns, made.since)


def _artifacts(made: Secrets, apart: Apart) -> list[str]:
    """Return the findings in what ansible-runner keeps while a run goes on; the key must be in no file at all."""
    found = []
    for pid in apart.alive():
        with contextlib.suppress(OSError):
            work = Path(f"/proc/{pid}/root/run/ocore")
            if not work.is_dir():
                continue
            found += made.scan.files([work / "runner", work / "ansible", work / "local"], made.since)
            found += [one for one in made.scan.files([work], made.since) if one.startswith("the key")]
    return found


class Watching:
    """Looks at every process of this machine, again and again, while a run goes on.

    Of the files that our own have open, those in a run's own folder are passed over, and the ones that are named.
    """

    def __init__(self, made: Secrets, apart: Apart, *besides: Path) -> None:
        self.found: set[str] = set()
        self.looks = 0
        self._made, self._apart = made, apart
        self._besides = (Path(sandbox.WORK), apart.root / "run", *besides)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.found |= set(self._made.scan.processes())
            self.found |= set(self._made.scan.open_files(self._apart.alive(), self._besides))
            self.looks += 1
            self._stop.wait(0.1)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()


def _assert_nowhere(host: Host, made: Secrets, run: Stoppable) -> None:
    """Check that nothing is found on this machine and on the server, nor in what a run told."""
    assert not list(made.scan.processes())
    assert not _on_disk(made)
    assert not _on_server(host, made)
    told = "\n".join([*map(json.dumps, run.lines), *run.texts]).encode()
    assert len(run.lines) > 3
    assert not made.scan.names_in(told)


# --- runs -------------------------------------------------------------------------------------------------------------


def _begin(apart: Apart, host: Host, made: Secrets, by: str, **order: Any) -> Stoppable:
    """Begin a run that logs in by key or by password."""
    login = {"private_key": made.key} if by == "key" else {"password": made.login}
    order |= {
        "server": {"host": host.address, "port": host.ssh_port, "user": host.user},
        "credentials": {"sudo_password": made.sudo} | login | order.pop("credentials", {}),
        "options": {"allow_loopback": True, "minimum_disk_gb": 1, "proxy": "none"},
    }
    clock = order.get("step_timeouts", {}).get("packages") or order.get("timeout", 0)
    return Stoppable(apart.driver(order), clock)


def _watched(apart: Apart, host: Host, made: Secrets, run: Stoppable) -> None:
    """Let a run end by itself while everything is looked at."""
    with Watching(made, apart) as watching:
        seconds_until(run.ended, 300, "the run ends")
    assert watching.looks > 5
    assert not watching.found
    _assert_nowhere(host, made, run)


@pytest.fixture
def apart() -> Iterator[Apart]:
    """Return a copy of oCore with namespaces."""
    with Apart() as copy:
        yield copy


@pytest.fixture(scope="module")
def provisioned(host: Host, made: Secrets) -> Host:
    """Return the host after a whole provisioning by key that was watched."""
    with Apart() as apart:
        run = _begin(apart, host, made, "key")
        _watched(apart, host, made, run)
        assert run.last["status"] == "success", run.lines
        assert any("sudo works with the password" in line.get("message", "") for line in run.lines)
    return host


@pytest.mark.promise("A13")
@pytest.mark.parametrize("by", ["key", "password"])
def test_a_run_that_succeeds_leaves_no_secret(apart: Apart, provisioned: Host, made: Secrets, by: str) -> None:
    """Login and sudo work with secrets full of awkward characters, and these are found nowhere, during and after."""
    provisioned.disown()
    run = _begin(apart, provisioned, made, by)
    _watched(apart, provisioned, made, run)
    assert run.last["status"] == "success", run.lines
    assert any(line.get("step") == "runtime" and line.get("status") == "success" for line in run.lines)


@pytest.mark.promise("A13")
@pytest.mark.parametrize(
    ("by", "wrong"), [("key", "sudo"), ("password", "login"), pytest.param("key", "task", marks=pytest.mark.slow)]
)
def test_a_run_that_fails_leaves_no_secret(apart: Apart, provisioned: Host, made: Secrets, by: str, wrong: str) -> None:
    """Neither does one that fails: for a wrong password (which is no less secret), or in a task."""
    if wrong == "task":
        with long_task(provisioned, 'DPkg::Pre-Invoke {"echo no; false";};'):
            run = _begin(apart, provisioned, made, by, steps=["packages"])
            _watched(apart, provisioned, made, run)
        assert run.code == "step_failed"
        return
    other = _make()
    given = {"sudo": {"sudo_password": other.sudo}, "login": {"password": other.login}}[wrong]
    run = _begin(apart, provisioned, made, by, credentials=given)
    _watched(apart, provisioned, other, run)
    _assert_nowhere(provisioned, made, run)
    assert run.code == {"sudo": "sudo_password_required", "login": "auth_denied"}[wrong]


STOPS = ("cancel", "run time-out", "step time-out", "SIGKILL")
SHORT = {("password", "SIGKILL")}


@pytest.mark.promise("A13")
@pytest.mark.parametrize(
    ("by", "way"),
    [
        pytest.param(by, way, marks=() if (by, way) in SHORT else pytest.mark.slow)
        for by in ("key", "password")
        for way in STOPS
    ],
)
def test_a_run_that_is_stopped_leaves_no_secret(
    apart: Apart, provisioned: Host, made: Secrets, by: str, way: str
) -> None:
    """Neither does one that is stopped in the middle of a task, however that is done; and nor do its artifacts."""
    # A busy machine needs a while to come to the long task.
    clock: dict[str, Any] = {"timeout": 90 if way == "run time-out" else 600}
    if way == "step time-out":
        clock["step_timeouts"] = {"packages": 60}
    with long_task(provisioned), Watching(made, apart) as watching:
        run = _begin(apart, provisioned, made, by, steps=["packages"], **clock)
        seconds_until(lambda: run.ended() or long_task_began(provisioned), BEGINS, "the long task begins")
        assert not run.ended(), run.lines
        assert not _artifacts(made, apart)
        assert not _on_disk(made)
        assert not _on_server(provisioned, made)
        run.stop(way)
        seconds_until(run.ended, 10, "the run ends")
    assert not watching.found
    _assert_nowhere(provisioned, made, run)
    assert not apart.left()


@pytest.mark.promise("F34")
@pytest.mark.slow
@pytest.mark.parametrize("by", ["key", "password"])
def test_a_killed_run_without_namespaces_leaves_no_secret(provisioned: Host, made: Secrets, by: str) -> None:
    """Where the machine refuses namespaces: nothing in arguments, environments and output, and nothing afterwards."""
    with Apart(isolation="reduced") as apart, long_task(provisioned), Watching(made, apart) as watching:
        run = _begin(apart, provisioned, made, by, steps=["packages"])
        seconds_until(lambda: run.ended() or long_task_began(provisioned), BEGINS, "the long task begins")
        assert not run.ended(), run.lines
        assert not [one for one in _on_disk(made) if one.startswith("the key")]
        run.stop("SIGKILL")
        seconds_until(lambda: run.ended() and not apart.alive(), 5, "the run ends")
        assert not watching.found
        _assert_nowhere(provisioned, made, run)
        assert not apart.left()


@pytest.mark.promise("A13")
def test_the_command_line_shows_no_secret(apart: Apart, host: Host, made: Secrets) -> None:
    """The program takes a key and a password from files or standard input, and repeats nothing of them."""
    password = apart.root / "password"
    password.write_text(made.sudo + "\n", encoding="utf-8")
    arguments = ("--allow-loopback", "--minimum-disk-gb", "1", "--key", "-", "--sudo-password-file", str(password))
    for shown in ((), ("--json",)):
        read, write = os.pipe()
        with open(read, "rb") as reading, open(write, "wb") as writing:  # noqa: PTH123 - descriptors
            program = apart.ocore("validate", host.target, *arguments, *shown, stdin=reading)
            writing.write(made.key.encode())
            writing.close()
            with Watching(made, apart, password) as watching:
                said, _ = program.communicate(timeout=60)
        assert program.returncode == 0, said
        assert not watching.found
        assert not made.scan.names_in(said)
    password.unlink()
    assert not _on_disk(made)
    assert not _on_server(host, made)


# --- the scan itself --------------------------------------------------------------------------------------------------


def _spelled(made: Secrets) -> Iterator[tuple[str, bytes]]:
    seed = serialization.load_ssh_private_key(made.key.encode(), None)
    assert isinstance(seed, ed25519.Ed25519PrivateKey)
    raw = seed.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    yield "the key", made.key.encode()
    yield "the key", raw
    yield "the key", made.key.splitlines()[4].encode()
    for name, secret in (("the login password", made.login), ("the sudo password", made.sudo)):
        for text in (secret, json.dumps({"a": secret}), repr([secret])):
            yield name, text.encode()
    for name, plain in (("the key", raw), ("the login password", made.login.encode())):
        for before in range(3):
            yield name, base64.b64encode(b"x" * before + plain + b"more")
            yield name, base64.urlsafe_b64encode(b"x" * before + plain + b"more")


def test_the_scan_finds_a_secret_in_every_spelling(made: Secrets) -> None:
    """Clear, base64 at any offset, JSON, Python: each is found by name; what is public is not."""
    for name, data in _spelled(made):
        assert made.scan.names_in(b"before " + data + b" after") == {name}, data
    assert not made.scan.names_in(made.public.encode())
    assert not made.scan.names_in(_make().key.encode())


def _in_process(made: Secrets, pid: int) -> list[str]:
    found = [*made.scan.processes([pid]), *made.scan.open_files([pid])]
    return [one.partition(" in ")[0] for one in found]


@pytest.mark.promise("A13")
def test_the_scan_finds_a_secret_wherever_it_is_planted(apart: Apart, host: Host, made: Secrets) -> None:
    """A file, also in shared memory, an argument, an environment, an open file without a name; and the server's."""
    planted = [apart.root / "tmp" / "planted", SHARED_MEMORY / f"planted-{os.getpid()}", CHECKOUT / ".dev" / "planted"]
    try:
        for path in planted:
            path.write_bytes(b"x" + base64.b64encode(made.login.encode()))
        assert sum("the login password" in one for one in _on_disk(made)) == len(planted)
    finally:
        for path in planted:
            path.unlink()
    assert not _on_disk(made)

    waiting = "import sys; sys.stdin.read()"
    for where in ("argument", "environment", "file"):
        command = [sys.executable, "-c", waiting, *([made.sudo] if where == "argument" else [])]
        environment = os.environ | ({"PASSWORD": made.sudo} if where == "environment" else {})
        nameless = os.memfd_create("nameless")
        os.write(nameless, made.sudo.encode() if where == "file" else b"-")
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, pass_fds=[nameless]) as program:
            seconds_until(lambda pid=program.pid: _in_process(made, pid) == ["the sudo password"], 5, where)
        os.close(nameless)

    assert not _on_server(host, made)
    host.write("/var/tmp/planted", made.login)
    host.exec("systemd-cat --identifier=planted", stdin=json.dumps({"password": made.sudo}))
    host.exec("journalctl --sync")
    assert {one.partition(" in ")[0] for one in _on_server(host, made)} == {"the login password", "the sudo password"}
    host.exec("rm /var/tmp/planted; journalctl --rotate && journalctl --vacuum-time=1s && journalctl --sync")
    assert not _on_server(host, made)
