"""Hosts of another architecture than this machine's: their programs are run by an emulator that the kernel calls."""

from __future__ import annotations

import platform
import shutil
import subprocess

from tests.hosts.engine import HostError

# Names of architectures: Debian's to the kernel's.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}

# The emulator does not know all that systemd asks of a kernel: it comes up and answers, and starts no service. So sshd
# comes before it, and its unit goes: systemd would clear up after a failed one, and take sshd's directory with that.
SSHD = "ln -sf /dev/null /etc/systemd/system/ssh.service && mkdir -p /run/sshd && ssh-keygen -q -A && /usr/sbin/sshd"
BOOT_SECONDS = 300.0


def needed(architecture: str | None) -> bool:
    """Tell whether this machine's processor cannot run an architecture itself."""
    return architecture is not None and MACHINES[architecture] != platform.machine()


def ready(architecture: str | None) -> bool:
    """Tell whether programs of an architecture run here, by themselves or by emulation."""
    if not needed(architecture):
        return True
    tool = shutil.which("arch-test")
    if tool is None:
        return False
    command = [tool, str(architecture)]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0


def require(architecture: str | None) -> None:
    """Refuse to go on where programs of an architecture do not run."""
    if not ready(architecture):
        command = f"./dev hosts up --variant {architecture}"
        raise HostError(f"programs of {architecture} do not run here; `{command}` installs what runs them")
