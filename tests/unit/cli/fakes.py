"""A library for the command line that contacts nothing: it plays a short run, and keeps how it was called."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ocore.capacity import GIB, MIB
from ocore.errors import ErrorCode, Failure, RecorderError
from ocore.intake.hostkeys import HostKey
from ocore.models import (
    Drift,
    Plan,
    PlannedStep,
    RunResult,
    RunStatus,
    Server,
    StepReading,
    StepResult,
    StepStatus,
    TaskEvent,
)
from ocore.recorder import NullRecorder
from ocore.specs import HardwareSpecs
from tests.unit.keymaker import public_key

if TYPE_CHECKING:
    from threading import Event

    from ocore.options import ProvisionOptions
    from ocore.recorder import Recorder

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TIME = "2026-01-02T03:04:05.678Z"
KEY = HostKey.parse(public_key("ed25519"))
OTHER_KEY = HostKey.parse(public_key("ecdsa"))
SPECS = HardwareSpecs(
    cpu_cores=4,
    ram_total_bytes=8192 * MIB,
    disk_total_bytes=150 * GIB,
    disk_free_bytes=140 * GIB,
    os_name="Debian GNU/Linux",
    os_version="13.1",
    kernel_version="6.12.1-amd64",
    architecture="amd64",
    docker_version="26.1.5",
)
STEPS = (
    StepResult("connect", StepStatus.SUCCESS, "Logged in.", NOW, NOW, 400),
    StepResult("packages", StepStatus.UNCHANGED, "Already so.", NOW, NOW, 0),
    StepResult(
        "docker", StepStatus.SUCCESS, "2 of 5 task(s) changed something.", NOW, NOW, 125_000, changed=2, tasks=5
    ),
)
DENIED = Failure(ErrorCode.AUTH_DENIED, "The host does not accept the key of root.")


def result(status: RunStatus = RunStatus.SUCCESS, error: Failure | None = None, **more: Any) -> RunResult:
    """Return how a provisioning run ended."""
    given: dict[str, Any] = {"specs": SPECS, "host_key": KEY, "notes": ("A reboot is needed.",)} | more
    return RunResult("provision", "run-1", status, STEPS, error=error, **given)


PLAN = Plan(
    server_id="server-1",
    options={"proxy_kind": "caddy"},
    content="c0ffee",
    steps=(
        PlannedStep("connect", run=True, reasons=("validation always runs",)),
        PlannedStep("packages", run=False, reasons=()),
        PlannedStep("docker", run=True, reasons=("package docker.io is not installed",)),
    ),
)
DRIFT = Drift(
    (
        StepReading("docker", so=False, due=True, reasons=("docker.service is not active",), conditions=5),
        StepReading("proxy", so=True, due=True, reasons=("depends on docker",), conditions=3),
    )
)


@dataclass
class Call:
    """How one of the functions was called."""

    name: str
    server: Server
    options: ProvisionOptions | None
    extra: dict[str, Any]


@dataclass
class FakeDoor:
    """Plays one scripted run, whatever is called.

    Attributes:
        result: what the run comes to; where it failed, `plan`, `drift` and `gather` raise it.
        key: the key that the server shows.
        found: what drift finds.

    """

    result: RunResult = field(default_factory=result)
    key: HostKey = KEY
    found: Drift = DRIFT
    calls: list[Call] = field(default_factory=list)

    def play(self, recorder: Recorder, cancel: Event | None) -> None:
        """Tell the recorder a short run; tests that wait for signals override it."""
        del cancel
        recorder.host_key_seen(self.key)
        for step in STEPS:
            recorder.step_started(step.step, NOW)
            if step.tasks:
                recorder.task_event(TaskEvent(step.step, "Install Docker", "started", "", NOW))
                recorder.task_event(TaskEvent(step.step, "Install Docker", "retry", "apt holds the lock (try 2)", NOW))
                recorder.task_event(TaskEvent(step.step, "Install Docker", "changed", "", NOW))
            recorder.step_finished(step)
        recorder.facts(SPECS)

    def _run(self, name: str, server: Server, options: ProvisionOptions | None, extra: dict[str, Any]) -> RunResult:
        recorder, cancel = extra.pop("recorder", None) or NullRecorder(), extra.pop("cancel", None)
        self.calls.append(Call(name, server, options, extra))
        try:
            self.play(recorder, cancel)
        except Exception as error:
            raise RecorderError("the recorder raised") from error
        return self.result

    def validate(self, server: Server, options: ProvisionOptions | None = None, **extra: Any) -> RunResult:
        """Play the run."""
        return self._run("validate", server, options, extra)

    def provision(self, server: Server, options: ProvisionOptions | None = None, **extra: Any) -> RunResult:
        """Play the run."""
        return self._run("provision", server, options, extra)

    def cleanup(self, server: Server, options: ProvisionOptions | None = None, **extra: Any) -> RunResult:
        """Play the run."""
        return self._run("cleanup", server, options, extra)

    def plan(self, server: Server, options: ProvisionOptions | None = None, **extra: Any) -> Plan:
        """Play the run and return the plan."""
        self._run("plan", server, options, extra).raise_for_status()
        return PLAN

    def drift(self, server: Server, options: ProvisionOptions | None = None, **extra: Any) -> Drift:
        """Play the run and return the drift."""
        self._run("drift", server, options, extra).raise_for_status()
        return self.found

    def gather(self, server: Server, options: ProvisionOptions | None = None, **extra: Any) -> HardwareSpecs:
        """Play the run and return the specs."""
        self._run("gather", server, options, extra).raise_for_status()
        return SPECS


def failed(error: Failure = DENIED) -> FakeDoor:
    """Return a library whose run fails."""
    return FakeDoor(result=result(RunStatus.FAILED, error))
