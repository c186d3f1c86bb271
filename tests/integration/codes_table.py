"""Which state of a host leads to which error code: the table as data, and a program that shows it on real hosts.

python -m tests.integration.codes_table
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import pytest

import ocore
from ocore.errors import ConfigError, ErrorCode, Failure
from ocore.intake.hostkeys import HostKey
from ocore.steps import BY_NAME
from tests import hosts
from tests.hosts.fleet import free_port
from tests.integration import states
from tests.integration.support import describe, key_of, options, server

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tests.hosts import Host
    from tests.integration.states import State

LOOPBACK: Final = "127.0.0.1"


class Ground:
    """The hosts that the lines of the table share: each is started when a line first asks for it."""

    def __init__(self, start: Callable[..., Host]) -> None:
        self._start = start

    @functools.cached_property
    def ops(self) -> Host:
        """A host with Docker, as the user `ops`, who becomes root with a password."""
        host = self._start("sudo-password", docker=True)
        states.never_turn_away(host)
        return host

    @property
    def root(self) -> Host:
        """The same host, as root, who logs in with a key."""
        return dataclasses.replace(self.ops, user="root", password=None, sudo_password=None)

    @functools.cached_property
    def bookworm(self) -> Host:
        """A Debian 12, whose own Docker is too old."""
        return self._start("bookworm")


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        code: the code that is shown.
        variant: what is the matter with the host.
        show: brings it about and returns how the run failed.
        says: a pattern that the message has.
        slow: whether this takes half a minute.

    """

    code: ErrorCode
    variant: str
    show: Callable[[Ground], Failure]
    says: str
    slow: bool = False


class At(ocore.NullRecorder):
    """Does something when a step begins."""

    def __init__(self, step: str, do: Callable[[], object]) -> None:
        self._step = step
        self._do = do

    def step_started(self, step: str, at: datetime) -> None:  # noqa: ARG002 - the step is enough
        """Do it, at the step."""
        if step == self._step:
            self._do()


def _failure(result: ocore.RunResult) -> Failure:
    assert result.error is not None, describe(result)
    return result.error


def _validated(state: State, **changes: Any) -> Callable[[Ground], Failure]:
    """Return how to show what validation says to root's host in a state."""

    def show(ground: Ground) -> Failure:
        with state.on(ground.root):
            return _failure(ocore.validate(server(ground.root), options(**changes)))

    return show


def _as_ops(state: State, by: Callable[[Host], ocore.Credentials]) -> Callable[[Ground], Failure]:
    """Return how to show what validation says to the user `ops` with some credentials."""

    def show(ground: Ground) -> Failure:
        host = ground.ops
        with state.on(host):
            aim = ocore.Server(host.address, by(host), user=host.user, port=host.ssh_port)
            return _failure(ocore.validate(aim, options()))

    return show


def _provisioned(state: State, *steps: str, **changes: Any) -> Callable[[Ground], Failure]:
    """Return how to show what provisioning says to root's host in a state."""

    def show(ground: Ground) -> Failure:
        with state.on(ground.root):
            aim = server(ground.root)
            return _failure(ocore.provision(aim, options(**changes), steps=steps, force=True))

    return show


def _reached(host: str, port: int, **changes: Any) -> Failure:
    """Show what validation says to an address where no test host is."""
    aim = ocore.Server(host, ocore.Credentials(password="unused"), port=port)
    return _failure(ocore.validate(aim, options(**changes)))


def _not_ssh(says: bytes) -> Callable[[Ground], Failure]:
    def show(_ground: Ground) -> Failure:
        with states.tcp_server(says) as port:
            return _reached(LOOPBACK, port)

    return show


def _refused(**credentials: str) -> Callable[[Ground], Failure]:
    """Return how to show what is refused before anything is contacted."""

    def show(_ground: Ground) -> Failure:
        with pytest.raises(ConfigError) as refused:
            ocore.Credentials(**credentials)
        return Failure(ErrorCode(refused.value.code or ""), str(refused.value))

    return show


def _changed(ground: Ground) -> Failure:
    aim = server(ground.root, host_key=HostKey.parse(states.foreign_key()))
    return _failure(ocore.validate(aim, options()))


def _too_old(ground: Ground) -> Failure:
    return _failure(ocore.provision(server(ground.bookworm), options(), steps=("docker",)))


def _cut_off(ground: Ground) -> Failure:
    host = ground.root
    with states.State("true", "systemctl start ssh").on(host):
        return _failure(
            ocore.validate(server(host), options(), recorder=At("detect", functools.partial(states.cut_off, host)))
        )


def _cancelled(ground: Ground) -> Failure:
    cancel = threading.Event()
    return _failure(ocore.validate(server(ground.root), options(), recorder=At("preflight", cancel.set), cancel=cancel))


def _kill_worker() -> None:
    """Kill the process of this one's run that is in the sandbox."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    ours = {str(os.getpid())}
    for _ in rows:
        ours |= {pid for pid, parent, *_ in rows if parent in ours}
    inside = [int(pid) for pid, _, args in rows if pid in ours and "ocore.inside" in args and "bwrap" not in args]
    assert inside, "there is no process to kill"
    for pid in inside:
        # Some of them are short-lived: a task's process may have ended since it was listed.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _worker_lost(ground: Ground) -> Failure:
    return _failure(ocore.validate(server(ground.root), options(), recorder=At("preflight", _kill_worker)))


def _step_timeout(ground: Ground) -> Failure:
    short = dataclasses.replace(BY_NAME["connect"], timeout=2)
    with states.HANGS.on(ground.root), mock.patch.dict(BY_NAME, {"connect": short}):
        return _failure(ocore.validate(server(ground.root), options()))


def _run_timeout(ground: Ground) -> Failure:
    with states.HANGS.on(ground.root):
        return _failure(ocore.validate(server(ground.root), options(), timeout=2))


def _key(host: Host) -> ocore.Credentials:
    return ocore.Credentials(private_key=key_of(host))


def _key_and_sudo(password: str | None = None) -> Callable[[Host], ocore.Credentials]:
    return lambda host: ocore.Credentials(private_key=key_of(host), sudo_password=password or host.sudo_password)


def _password(password: str) -> Callable[[Host], ocore.Credentials]:
    return lambda _host: ocore.Credentials(password=password)


PASSPHRASE_KEY: Final = (Path(__file__).parent / "data" / "passphrase.key").read_text(encoding="ascii")
OTHER_KEY: Final = (Path(__file__).parent / "data" / "unknown.key").read_text(encoding="ascii")

LINES: Final = (
    Line(ErrorCode.ADDRESS_REFUSED, "the address is a cloud's metadata service",
         lambda _: _reached("169.254.169.254", 22), r"169\.254\.169\.254 is refused: it is link-local"),
    Line(ErrorCode.ADDRESS_REFUSED, "the address is this machine's loopback, and that is not allowed",
         lambda _: _reached(LOOPBACK, 22, allow_loopback=False), "this machine's loopback"),
    Line(ErrorCode.DNS_FAILED, "the name does not exist",
         lambda _: _reached("nowhere.invalid", 22), r"nowhere\.invalid could not be resolved"),
    Line(ErrorCode.CONNECTION_REFUSED, "nothing listens at the port",
         lambda _: _reached(LOOPBACK, free_port(LOOPBACK)), "Nothing listens at"),
    Line(ErrorCode.CONNECTION_REFUSED, "sshd locks us out for a while",
         _validated(states.TURNED_AWAY), "turns us away for a while: Not allowed at this time"),
    Line(ErrorCode.CONNECT_TIMEOUT, "the host is frozen",
         _validated(states.FROZEN), "did not answer within 10 s"),
    Line(ErrorCode.NOT_SSH, "a mail server answers at the port",
         _not_ssh(b"220 mail.example ESMTP\r\n"), "does not greet as an SSH server"),
    Line(ErrorCode.NOT_SSH, "what answers at the port hangs up",
         _not_ssh(b""), "does not greet as an SSH server|closed the connection"),
    Line(ErrorCode.HOST_KEY_CHANGED, "the host has another key than the pinned one",
         _changed, r"pinned is SHA256:\S+ \(ssh-ed25519\), the host shows SHA256:\S+"),
    Line(ErrorCode.KEY_INVALID, "the private key has a passphrase",
         _refused(private_key=PASSPHRASE_KEY), "is protected by a passphrase"),
    Line(ErrorCode.SECRET_REQUIRED, "no credential is given",
         _refused(), "exactly one of private_key, password"),
    Line(ErrorCode.AUTH_DENIED, "the host does not know the key",
         _as_ops(states.NOTHING, lambda _: ocore.Credentials(private_key=OTHER_KEY)),
         "refused the key.*Permission denied"),
    Line(ErrorCode.AUTH_DENIED, "the password is wrong",
         _as_ops(states.NOTHING, _password("wrong")), "refused the password.*Permission denied"),
    Line(ErrorCode.AUTH_DENIED, "the user has no login shell",
         _as_ops(states.NO_SHELL, _key), "ops has no login shell"),
    Line(ErrorCode.SUDO_MISSING, "there is no sudo",
         _as_ops(states.hidden("/usr/bin/sudo"), _key), "the host has no sudo"),
    Line(ErrorCode.SUDO_MISSING, "the user may not use sudo",
         _as_ops(states.hidden("/etc/sudoers.d/ops"), _key_and_sudo()), "ops is not in the sudoers|may not run sudo"),
    Line(ErrorCode.SUDO_PASSWORD_REQUIRED, "sudo asks for a password, and none is given",
         _as_ops(states.NOTHING, _key), "sudo asks ops for a password"),
    Line(ErrorCode.SUDO_PASSWORD_REQUIRED, "the sudo password is wrong",
         _as_ops(states.NOTHING, _key_and_sudo("wrong")), "sudo refused ops"),
    Line(ErrorCode.PYTHON_MISSING, "there is no Python that runs (validation)",
         _validated(states.NO_PYTHON), "no Python 3"),
    Line(ErrorCode.OS_UNSUPPORTED, "the system is Debian 10",
         _validated(states.DEBIAN_10), r"Debian GNU/Linux 10\.13 is not supported"),
    Line(ErrorCode.ARCH_UNSUPPORTED, "the kernel names another processor",
         _validated(states.OTHER_PROCESSOR), "architecture (i686|armv8l) is not supported"),
    Line(ErrorCode.INIT_UNSUPPORTED, "sshd runs in a container without systemd",
         _validated(states.PLAIN_CONTAINER), "is run by sshd"),
    Line(ErrorCode.FOREIGN_MANAGER, "Coolify is installed",
         _validated(states.State("mkdir -p /data/coolify", "rm -r /data")), r"managed by Coolify \(/data/coolify\)"),
    Line(ErrorCode.FOREIGN_MANAGER, "the server's marker names another oCore's server",
         _validated(states.written("/etc/ocore/server.json", '{"managedBy": "ocore", "serverId": "srv-1"}')),
         "belongs to another oCore .as srv-1"),
    Line(ErrorCode.MEMORY_LOW, "there is less memory than the minimum",
         _validated(states.NOTHING, minimum_memory_mb=2**24), "MB of memory and needs 16777216 MB"),
    Line(ErrorCode.DISK_LOW, "there is less free disk than the minimum",
         _validated(states.NOTHING, minimum_disk_gb=2**20), "GB free and needs 1048576 GB"),
    Line(ErrorCode.PORT_IN_USE, "a web server of somebody else's listens on port 80",
         _validated(states.PORT_TAKEN), r"Port 80 is held by python3\S* \(process \d+\)"),
    Line(ErrorCode.EGRESS_BLOCKED, "a firewall rejects outgoing connections",
         _validated(states.BLOCKED), "No package source answers: "),
    Line(ErrorCode.CLOCK_SKEWED, "the clock is two hours fast",
         _validated(states.CLOCK_FAST), r"clock is 7\d\d\d s fast"),
    Line(ErrorCode.PACKAGE_LOCK, "apt's locks are held for longer than the limit",
         _provisioned(states.LOCKED, "packages", lock_timeout=1), r"python3\S* \(process \d+\) holds /var/lib"),
    Line(ErrorCode.DOCKER_TOO_OLD, "Debian 12 has an old Docker, and Docker's own repository cannot be reached",
         _too_old, r"20\.10\.\d+, and oCore needs 24 or newer", slow=True),
    Line(ErrorCode.STEP_FAILED, "a file is where a directory must be",
         _provisioned(states.IN_THE_WAY, "runtime"), "The task '.+' failed: "),
    Line(ErrorCode.VERIFY_FAILED, "another program removes what was just made",
         _provisioned(states.TIDIED, "runtime"), "set up, but the marker file names the server none", slow=True),
    Line(ErrorCode.STEP_TIMEOUT, "the login shell hangs (limit of the step: 2 s)",
         _step_timeout, "step connect took longer than 2 s"),
    Line(ErrorCode.RUN_TIMEOUT, "the login shell hangs (limit of the run: 2 s)",
         _run_timeout, "run took longer than 2 s"),
    Line(ErrorCode.CONNECTION_LOST, "sshd is killed during the run",
         _cut_off, "The connection broke: "),
    Line(ErrorCode.WORKER_LOST, "the process that runs Ansible is killed",
         _worker_lost, "ended without a result"),
    Line(ErrorCode.CANCELLED, "the caller cancels",
         _cancelled, "The run was cancelled"),
)  # fmt: skip


def _show(*cells: str) -> None:
    """Print one row of Markdown."""
    words = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    sys.stdout.write(f"| {' | '.join(words)} |\n")
    sys.stdout.flush()


def main() -> int:
    """Start hosts, bring about every line, and print the table as Markdown."""
    started: list[Host] = []

    def start(variant: str, **settings: Any) -> Host:
        started.append(hosts.up(variant, **settings))
        return started[-1]

    _show("variant", "code", "message")
    _show("---", "---", "---")
    try:
        ground = Ground(start)
        for line in LINES:
            failure = line.show(ground)
            _show(line.variant, f"`{failure.code}`", failure.message)
    finally:
        for host in started:
            host.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
