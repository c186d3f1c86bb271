"""What makes one test host differ from another: each variant is applied to a started host."""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts.host import Host

APT_LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock")
HOLD_LOCKS = """
import fcntl, sys, time
files = [open(path, "w") for path in sys.argv[2:]]
for file in files:
    fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(float(sys.argv[1]))
"""


@dataclass(frozen=True)
class Variant:
    """One way in which a server can be: what makes it so, and what it needs from the start."""

    says: str
    apply: Callable[[Host], Host]
    suite: str = "trixie"
    address: str = "127.0.0.1"
    architecture: str | None = None


def _unchanged(host: Host) -> Host:
    return host


def _with_user(host: Host) -> Host:
    """Add the user `ops`, who has a password and lets our key in."""
    password = secrets.token_urlsafe(16)
    host.exec("useradd --create-home --shell /bin/bash ops && install -d -m 0700 -o ops -g ops /home/ops/.ssh")
    host.exec("install -m 0600 -o ops -g ops /root/.ssh/authorized_keys /home/ops/.ssh/authorized_keys")
    host.exec("chpasswd", stdin=f"ops:{password}\n")
    return dataclasses.replace(host, user="ops", password=password)


def _sudo_rule(host: Host, rule: str) -> None:
    host.write("/etc/sudoers.d/ops", f"ops ALL=(ALL:ALL) {rule}\n", mode="0440")


def _sudo_password(host: Host) -> Host:
    host = _with_user(host)
    _sudo_rule(host, "ALL")
    return dataclasses.replace(host, sudo_password=host.password)


def _sudo_nopasswd(host: Host) -> Host:
    host = _with_user(host)
    _sudo_rule(host, "NOPASSWD: ALL")
    return host


def _password_only(host: Host) -> Host:
    password = secrets.token_urlsafe(16)
    host.exec("chpasswd", stdin=f"root:{password}\n")
    settings = "PubkeyAuthentication no\nPasswordAuthentication yes\nPermitRootLogin yes\n"
    host.write("/etc/ssh/sshd_config.d/ocore-test.conf", settings)
    host.exec("systemctl restart ssh")
    host.wait_until_booted()
    return dataclasses.replace(host, password=password)


def _no_python(host: Host) -> Host:
    host.exec("DEBIAN_FRONTEND=noninteractive apt-get purge --quiet --yes 'python3*' 'libpython3*'")
    return host


def _old_release(host: Host) -> Host:
    release = 'PRETTY_NAME="Debian GNU/Linux 10 (buster)"\nNAME="Debian GNU/Linux"\nVERSION_ID="10"\n'
    release += 'VERSION="10 (buster)"\nVERSION_CODENAME=buster\nID=debian\n'
    host.write("/usr/lib/os-release", release)
    host.write("/etc/debian_version", "10.13\n")
    return host


def _port80(host: Host) -> Host:
    host.exec(
        "systemd-run --quiet --unit=shop-website --property=Restart=always python3 -m http.server 80 "
        "&& for i in $(seq 50); do ss -Hltn 'sport = :80' | grep -q . && exit 0; sleep 0.1; done; exit 1"
    )
    return host


def hold_apt_locks(host: Host, seconds: float = 90) -> None:
    """Hold apt's and dpkg's locks in a host for some seconds, and return once they are held."""
    host.write("/usr/local/lib/ocore-test-host/hold_locks.py", HOLD_LOCKS)
    host.exec(
        "rm -f /run/apt-lock.out; systemctl stop unattended-upgrade-test 2>/dev/null; "
        "systemd-run --quiet --collect --unit=unattended-upgrade-test --property=StandardOutput=file:/run/apt-lock.out "
        f"python3 /usr/local/lib/ocore-test-host/hold_locks.py {seconds} {' '.join(APT_LOCKS)} "
        "&& for i in $(seq 50); do grep -qs held /run/apt-lock.out && exit 0; sleep 0.1; done; exit 1"
    )


def release_apt_locks(host: Host) -> None:
    """Let go of the locks that `hold_apt_locks` took."""
    host.exec("systemctl stop unattended-upgrade-test", check=False)


def _apt_lock(host: Host) -> Host:
    hold_apt_locks(host)
    return host


VARIANTS = {
    "root-key": Variant("root logs in with a key", _unchanged),
    "sudo-password": Variant("a user logs in with key or password; sudo asks for the password", _sudo_password),
    "sudo-nopasswd": Variant("a user logs in with a key; sudo asks for nothing", _sudo_nopasswd),
    "no-sudo": Variant("a user logs in with a key and may not become root", _with_user),
    "password-only": Variant("sshd takes root's password and no key", _password_only),
    "no-python": Variant("there is no Python", _no_python),
    "old-release": Variant("the system calls itself Debian 10", _old_release),
    "port80": Variant("a web server of somebody else's listens on port 80", _port80),
    "apt-lock": Variant("apt's locks are held for 90 s from the start", _apt_lock),
    "ipv6": Variant("sshd is reached over ::1", _unchanged, address="::1"),
    "bookworm": Variant("Debian 12, whose own Docker is too old", _unchanged, suite="bookworm"),
    "arm64": Variant(
        "an arm64 processor, by emulation where this machine has another", _unchanged, architecture="arm64"
    ),
}
