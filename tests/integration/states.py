"""States of a host that stand in the way of a run: what brings each about, and what undoes it.

The changes are real: what a test then sees is what the host's own programs answer.
"""

from __future__ import annotations

import contextlib
import platform
import shlex
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.hosts import VARIANTS, hold_apt_locks, release_apt_locks
from tests.hosts.state import client_public_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts import Host

SSHD = "/etc/ssh/sshd_config.d/00-ocore-test-state.conf"
SSH_UNIT = "/etc/systemd/system/ssh.service.d/ocore-test-state.conf"
# The kernel then answers `uname` as it does to programs of the machine's 32-bit relative.
PERSONALITY = {"x86_64": "x86", "aarch64": "arm"}[platform.machine()]
# Who logs in is then where nothing but sshd runs, as in most containers.
WITHOUT_SYSTEMD = """[Service]
Type=simple
PrivatePIDs=yes
TemporaryFileSystem=/run/systemd
"""
CLOCK = "/etc/environment"
# Only programs of a login see this clock: the host shares the machine's, which no test may touch.
TWO_HOURS_FAST = "LD_PRELOAD=libfaketime.so.1\nFAKETIME=+2h\nFAKETIME_DONT_FAKE_MONOTONIC=1\n"


@dataclass(frozen=True)
class State:
    """A state of a host: what makes it so, and what undoes it, as shell commands or as functions."""

    make: str | Callable[[Host], object]
    undo: str | Callable[[Host], object]

    @contextlib.contextmanager
    def on(self, host: Host) -> Iterator[None]:
        """Let a host be in this state for a while."""
        _do(host, self.make)
        try:
            yield
        finally:
            _do(host, self.undo)


def never_turn_away(host: Host) -> None:
    """Let sshd forgive many connections without a login: else a dozen runs that fail at once lock the next ones out."""
    _restarted(host, SSHD.replace("/00-", "/10-"), "PerSourcePenalties noauth:0 authfail:0\n")


def _do(host: Host, what: str | Callable[[Host], object]) -> None:
    if isinstance(what, str):
        host.exec(what)
    else:
        what(host)


def _restarted(host: Host, file: str, text: str | None) -> None:
    """Write a setting of sshd's (None: take it away), and restart it."""
    if text is None:
        host.exec(f"rm -f {file}")
    else:
        host.exec(f"mkdir -p $(dirname {file})")
        host.write(file, text)
    host.exec("systemctl daemon-reload; systemctl reset-failed ssh; systemctl restart ssh")
    host.wait_until_booted()


def sshd_setting(text: str) -> State:
    """Return the state in which the host's sshd has one more setting."""
    return State(lambda host: _restarted(host, SSHD, text), lambda host: _restarted(host, SSHD, None))


def ssh_service(text: str) -> State:
    """Return the state in which the host's sshd is started in another way."""
    return State(lambda host: _restarted(host, SSH_UNIT, text), lambda host: _restarted(host, SSH_UNIT, None))


def hidden(path: str) -> State:
    """Return the state in which a file or directory is not where it belongs."""
    return State(f"mv {path} {path}.hidden", f"mv {path}.hidden {path}")


def written(path: str, text: str) -> State:
    """Return the state in which there is one more file."""
    return State(
        f"mkdir -p $(dirname {path}) && printf %s {shlex.quote(text)} > {path}",
        f"rm {path}; rmdir --ignore-fail-on-non-empty $(dirname {path})",
    )


def _turn_away(host: Host) -> None:
    """Let sshd lock out who connects without logging in, and do that."""
    _restarted(host, SSHD, "PerSourcePenalties noauth:60s min:1s\n")
    with socket.create_connection((host.address, host.ssh_port)) as connection:
        connection.recv(64)
    while host.greets():
        pass


def _run_clock_fast(host: Host) -> None:
    host.exec(
        "ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || "
        "{ apt-get -q update && apt-get -q install --yes --no-install-recommends libfaketime; }",
        seconds=300,
    )
    found = host.exec("ls /usr/lib/*/faketime/libfaketime.so.1").stdout.strip()
    host.write(CLOCK, TWO_HOURS_FAST.replace("libfaketime.so.1", found))


NOTHING = State("true", "true")
BLOCKED = State(
    "iptables -I OUTPUT ! -o lo -p tcp --syn -j REJECT", "iptables -D OUTPUT ! -o lo -p tcp --syn -j REJECT"
)
CLOCK_FAST = State(_run_clock_fast, f": > {CLOCK}")
DEBIAN_10 = State(
    "cp /usr/lib/os-release /etc/debian_version /root/ && sed -i 's/^VERSION_ID=.*/VERSION_ID=\"10\"/' "
    "/usr/lib/os-release && echo 10.13 > /etc/debian_version",
    "mv /root/os-release /usr/lib/ && mv /root/debian_version /etc/",
)
FROZEN = State(lambda host: host.pause(), lambda host: host.unpause())
HANGS = sshd_setting("ForceCommand sleep 30\n")
IN_THE_WAY = State("rm -rf /etc/ocore && echo mine > /etc/ocore", "rm /etc/ocore")
LOCKED = State(hold_apt_locks, release_apt_locks)
NO_PYTHON = State("chmod a-x $(readlink -f /usr/bin/python3)", "chmod a+x $(readlink -f /usr/bin/python3)")
NO_SHELL = State("usermod --shell /usr/sbin/nologin ops", "usermod --shell /bin/bash ops")
OTHER_PROCESSOR = ssh_service(f"[Service]\nPersonality={PERSONALITY}\n")
PLAIN_CONTAINER = ssh_service(WITHOUT_SYSTEMD)
PORT_TAKEN = State(VARIANTS["port80"].apply, "systemctl stop shop-website")
# Two managers undo each other's work.
TIDIED = State(
    "systemd-run --quiet --unit=tidy sh -c 'while sleep 0.1; do rm -f /etc/ocore/server.json; done'",
    "systemctl stop tidy",
)
TURNED_AWAY = State(_turn_away, lambda host: _restarted(host, SSHD, None))


def cut_off(host: Host) -> None:
    """Break every SSH connection to a host, and let none be made."""
    host.exec("systemctl stop ssh; pkill -KILL sshd", check=False)


@contextlib.contextmanager
def tcp_server(says: bytes) -> Iterator[int]:
    """Run a server that is no SSH server on this machine's loopback; yield its port."""
    ended = threading.Event()

    def answer(listener: socket.socket) -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(says)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            ended.set()
            thread.join()


def foreign_key() -> str:
    """Return a public key that is no host's."""
    return client_public_key()
