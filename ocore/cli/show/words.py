"""The values as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocore.capacity import GIB, MIB
from ocore.cli.trust import Trust
from ocore.errors import ErrorCode
from ocore.sizing import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocore.capacity import CapacityEstimate
    from ocore.errors import Failure
    from ocore.intake.hostkeys import HostKey
    from ocore.models import Drift, Plan, RunResult, StepResult, TaskEvent
    from ocore.sizing import Gain, MachineSize
    from ocore.specs import HardwareSpecs
    from ocore.steps import Step

_STEP_WIDTH: Final = 12
_STATUS_WIDTH: Final = 10
_LABEL_WIDTH: Final = 10
_MINUTE: Final = 60.0

_TRUST: Final = {
    Trust.GIVEN: "as given",
    Trust.PINNED: "as pinned",
    Trust.FIRST: "seen for the first time, and pinned now: compare it with the server's console",
    Trust.CHANGED: "not the expected one",
}


def duration(seconds: float) -> str:
    """Spell a duration."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02} s"


def labelled(label: str, text: str) -> str:
    """Return one line of a summary."""
    return f"{label:<{_LABEL_WIDTH}}{text}"


def trusted(key: HostKey, trust: Trust) -> str:
    """Say which key the server showed, and why it is trusted."""
    return f"Host key {key.type} {key.fingerprint} ({_TRUST[trust]})"


def step_started(step: str) -> str:
    """Say that a step began."""
    return f"{step:<{_STEP_WIDTH}}running"


def task(event: TaskEvent) -> str:
    """Say what a task reported."""
    return f"{event.step:<{_STEP_WIDTH}}{event.kind:<{_STATUS_WIDTH}}{current(event)}".rstrip()


def current(event: TaskEvent) -> str:
    """Name the task; with its message where that is news: what it waits for, or why it failed."""
    if event.message and event.kind in ("retry", "warning", "failed", "gap"):
        return f"{event.task}: {event.message}" if event.task else event.message
    return event.task


def step_finished(result: StepResult) -> str:
    """Say how a step ended."""
    return f"{_step_line(result)}  {result.message}".rstrip()


def _step_line(result: StepResult) -> str:
    return f"{result.step:<{_STEP_WIDTH}}{result.status:<{_STATUS_WIDTH}}{duration(result.duration_ms / 1000):>12}"


def specs(found: HardwareSpecs) -> list[str]:
    """Describe hardware and system."""
    system = " ".join(filter(None, (found.os_name, found.os_version))) or "unknown system"
    return [
        labelled("System", f"{system}, kernel {found.kernel_version or '?'}, {found.architecture or '?'}"),
        labelled(
            "Hardware",
            f"{found.cpu_cores} core(s), {found.ram_total_bytes // MIB} MB RAM, "
            f"{found.disk_total_bytes // GIB} GB disk ({found.disk_free_bytes // GIB} GB free)",
        ),
        labelled("Docker", found.docker_version or "does not answer"),
    ]


def capacity(found: CapacityEstimate) -> list[str]:
    """Describe what a server can carry, and why."""
    counted = f"{found.max_instances} instance(s), {found.max_concurrent_users} concurrent user(s)"
    # Each sentence of the reasoning is one line of arithmetic.
    sentences = found.reasoning.replace(". ", ".\n").splitlines()
    return [labelled("Capacity", counted), *(labelled("", sentence) for sentence in sentences)]


def gains(found: tuple[Gain, ...]) -> str:
    """Describe what a little more hardware would give."""
    return labelled("More", describe(found))


def machine(found: MachineSize) -> str:
    """Describe a machine."""
    return labelled("Machine", f"{found.cores} core(s), {found.ram_mb} MB of RAM, {found.disk_gb} GB of free disk")


def run(result: RunResult, *, steps: bool) -> list[str]:
    """Summarise a run; the steps are left out where they are on the screen already."""
    lines = ["", "Steps", *(_step_line(one) for one in result.steps)] if steps else []
    lines.append("")
    if result.specs:
        lines += specs(result.specs)
    if result.host_key:
        lines.append(labelled("Host key", f"{result.host_key.type} {result.host_key.fingerprint}"))
    if result.isolation == "reduced":
        lines.append(labelled("Isolation", "reduced, since this machine refuses namespaces (docs/adr/0003-sandbox.md)"))
    return [*lines, *(labelled("Note", note) for note in result.notes)]


def plan(made: Plan) -> list[str]:
    """Say per step whether it will run and why, and the plan's hash."""
    lines = [_with_reasons(one.step, "runs" if one.run else "unchanged", one.reasons) for one in made.steps]
    return [*lines, "", labelled("Content", made.content), labelled("Plan", made.hash)]


def drift(found: Drift) -> list[str]:
    """Say which steps drifted."""
    if not found:
        return ["No drift: the server is as it was provisioned."]
    return [_with_reasons(one.step, "follows" if one.so else "drifted", one.reasons) for one in found.steps]


def _with_reasons(step: str, word: str, reasons: Sequence[str]) -> str:
    return f"{step:<{_STEP_WIDTH}}{word:<{_STATUS_WIDTH}}{'; '.join(reasons)}".rstrip()


def steps(registry: Iterable[Step]) -> list[str]:
    """List the registry of steps."""
    return [_registered(one) for one in registry]


def _registered(step: Step) -> str:
    kind = "validation" if step.validates else "change"
    needs = f" (needs {', '.join(step.needs)})" if step.needs else ""
    return f"{step.name:<{_STEP_WIDTH}}{kind:<12}at most {step.timeout:>4.0f} s  {step.does}{needs}"


def failure(why: Failure, place: str) -> list[str]:
    """Say what happened, what to do, and whether trying again can help."""
    lines = [f"ocore: {why.message} [{why.code}]", f"  What to do: {why.remedy}"]
    if why.code is ErrorCode.HOST_KEY_CHANGED and place:
        lines.append(f"  To trust the new key: ocore forget-host-key {place}")
    if why.retryable and why.code is not ErrorCode.CANCELLED:
        lines.append("  Trying again without a change can help.")
    return lines
