"""How integration tests speak of hosts and runs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import ocore

if TYPE_CHECKING:
    from datetime import datetime

    from tests.hosts import Host

# Test hosts share this machine's memory and disk, whose sizes are not the matter here.
OPTIONS = ocore.ProvisionOptions(allow_loopback=True, minimum_disk_gb=1)
# What is off by default.
OPTIONAL = ("swap", "security", "agent")
NOT_VALIDATION = ("packages", "docker", "runtime", "proxy", "verify")


def options(**changes: Any) -> ocore.ProvisionOptions:
    """Return the options for test hosts, with some changes."""
    return dataclasses.replace(OPTIONS, **changes)


def key_of(host: Host) -> str:
    """Return the private key that a host lets in."""
    assert host.key_file is not None
    return host.key_file.read_text(encoding="utf-8")


def server(host: Host, *, by: str = "key", **fields: Any) -> ocore.Server:
    """Return a test host as a server, logged in to by `key` or by `password`."""
    if by == "password":
        credentials = ocore.Credentials(password=host.password)
    else:
        credentials = ocore.Credentials(private_key=key_of(host), sudo_password=host.sudo_password)
    return ocore.Server(host.address, credentials, user=host.user, port=host.ssh_port, **fields)


@dataclasses.dataclass
class Watch(ocore.NullRecorder):
    """Keeps all that a run tells."""

    keys: list[ocore.HostKey] = dataclasses.field(default_factory=list)
    started: list[str] = dataclasses.field(default_factory=list)
    events: list[ocore.TaskEvent] = dataclasses.field(default_factory=list)
    finished: list[ocore.StepResult] = dataclasses.field(default_factory=list)
    specs: list[ocore.HardwareSpecs] = dataclasses.field(default_factory=list)

    def host_key_seen(self, key: ocore.HostKey) -> None:
        """Keep a key."""
        self.keys.append(key)

    def step_started(self, step: str, at: datetime) -> None:  # noqa: ARG002 - the order is enough
        """Keep a step's begin."""
        self.started.append(step)

    def task_event(self, event: ocore.TaskEvent) -> None:
        """Keep a task's event."""
        self.events.append(event)

    def step_finished(self, result: ocore.StepResult) -> None:
        """Keep a step's end."""
        self.finished.append(result)

    def facts(self, specs: ocore.HardwareSpecs) -> None:
        """Keep specs."""
        self.specs.append(specs)


def statuses(result: ocore.RunResult) -> dict[str, str]:
    """Return each step's status."""
    return {step.step: str(step.status) for step in result.steps}


def describe(result: ocore.RunResult) -> str:
    """Say how a run ended, for a failing assertion."""
    lines = [f"{step.step}: {step.status} ({step.duration_ms} ms) {step.message}" for step in result.steps]
    return "\n".join([f"{result.kind}: {result.status} {result.error}", *lines])
