"""The Docker engine as the test hosts use it: one way to call it, one way to ask whether it is there."""

from __future__ import annotations

import functools
import ipaddress
import json
import shutil
import subprocess
from pathlib import Path
from typing import IO

from tests.hosts import state

LABEL = "sh.ocore.test-host=1"
OWNER_LABEL = "sh.ocore.owner"

CAPABILITIES = ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "NET_RAW", "DAC_READ_SEARCH")
UNCONFINED = ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined")


class HostError(RuntimeError):
    """A test host, or something that one needs, could not be had; the message says why."""


@functools.cache
def _program() -> tuple[str, ...]:
    """Find how to reach the engine: as we are, or through sudo where that asks for no password."""
    for candidate in (("docker",), ("sudo", "-n", "docker")):
        if shutil.which(candidate[0]) is None:
            continue
        probe = [*candidate, "version", "--format", "{{.Server.Version}}"]
        if subprocess.run(probe, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0:
            return candidate
    raise HostError("no Docker engine answers here; `./dev setup` installs and starts one")


def available() -> bool:
    """Tell whether a Docker engine answers."""
    try:
        _program()
    except HostError:
        return False
    return True


def run(
    *arguments: str,
    stdin: str | None = None,
    source: IO[bytes] | None = None,
    check: bool = True,
    seconds: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run one docker command; `stdin` is text for it to read, `source` an open file instead."""
    command = [*_program(), *arguments]
    feed: IO[bytes] | int | None = source if source is not None else subprocess.DEVNULL
    result = subprocess.run(
        command,
        input=stdin,
        stdin=None if stdin is not None else feed,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    if check and result.returncode != 0:
        raise HostError(f"docker {arguments[0]} failed ({result.returncode}): {result.stderr.strip()[-2000:]}")
    return result


def labels() -> list[str]:
    """Return the arguments that mark an object as a test host's of this state directory."""
    return ["--label", LABEL, "--label", f"{OWNER_LABEL}={state.owner()}"]


def filters() -> list[str]:
    """Return the arguments that select exactly what `labels` marked."""
    return ["--filter", f"label={LABEL}", "--filter", f"label={OWNER_LABEL}={state.owner()}"]


def gateway() -> str:
    """Return the address at which a host reaches this machine."""
    told = json.loads(run("network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}").stdout)[0]
    # Docker 20.10 does not tell it before its second start; it is the first address.
    return str(told.get("Gateway") or ipaddress.ip_network(told["Subnet"])[1])


def hierarchy(root: Path = Path("/sys/fs/cgroup")) -> str:
    """Tell the cgroup hierarchy apart: `unified` or `hybrid`; any other kind is refused."""
    if (root / "cgroup.controllers").exists():
        return "unified"
    if (root / "unified" / "cgroup.controllers").exists():
        return "hybrid"
    raise HostError("this machine has neither the unified nor the hybrid cgroup hierarchy: test hosts cannot boot here")


def boot_arguments(kind: str) -> list[str]:
    """Return the docker arguments under which systemd boots, without --privileged (refused on some machines)."""
    arguments = [piece for name in CAPABILITIES for piece in ("--cap-add", name)]
    arguments += [piece for option in UNCONFINED for piece in ("--security-opt", option)]
    arguments += ["--tmpfs", "/run", "--tmpfs", "/tmp:exec", "--env", "container=docker"]
    if kind == "hybrid":
        return [*arguments, "--cgroupns=host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]
    # Binding the machine's unified tree would let the inner systemd write into its root.
    return [*arguments, "--cgroupns=private"]


def boot_command(kind: str, first: str = "true") -> list[str]:
    """Return what the container runs: init, which on a unified hierarchy must find its tree writable.

    `first` is a shell command that comes before it.
    """
    writable = "true" if kind == "hybrid" else "mount -o remount,rw /sys/fs/cgroup"
    return ["/bin/sh", "-c", f"{first} && {writable} && exec /sbin/init"]
