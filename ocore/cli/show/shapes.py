"""The values as plain data for `--json`: camelCase keys, the service's names where it has the same field.

docs/cli.md describes these shapes; what is added here is added there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocore.capacity import CapacityEstimate
    from ocore.errors import Failure
    from ocore.intake.hostkeys import HostKey
    from ocore.models import Drift, Plan, RunResult, StepResult, TaskEvent
    from ocore.sizing import Gain, MachineSize
    from ocore.specs import HardwareSpecs
    from ocore.steps import Step

Shape = dict[str, Any]


def time(at: datetime) -> str:
    """Spell a time as RFC 3339 in UTC with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def failure(one: Failure | None) -> Shape | None:
    """Describe why something failed."""
    if one is None:
        return None
    return {"code": one.code, "message": one.message, "remedy": one.remedy, "retryable": one.retryable}


def host_key(key: HostKey | None) -> Shape | None:
    """Describe a host key."""
    if key is None:
        return None
    return {"type": key.type, "key": key.key, "fingerprint": key.fingerprint}


def task(event: TaskEvent) -> Shape:
    """Describe what a task reported."""
    return {
        "step": event.step,
        "task": event.task,
        "kind": event.kind,
        "message": event.message,
        "at": time(event.at),
    }


def step_result(result: StepResult) -> Shape:
    """Describe how a step ended."""
    return {
        "step": result.step,
        "status": result.status,
        "message": result.message,
        "startedAt": time(result.started_at),
        "completedAt": time(result.finished_at),
        "durationMs": result.duration_ms,
        "changed": result.changed,
        "tasks": result.tasks,
        "error": failure(result.error),
    }


def specs(found: HardwareSpecs | None) -> Shape | None:
    """Describe hardware and system."""
    if found is None:
        return None
    return {
        "cpuCores": found.cpu_cores,
        "ramTotalBytes": found.ram_total_bytes,
        "diskTotalBytes": found.disk_total_bytes,
        "diskFreeBytes": found.disk_free_bytes,
        "ownDiskBytes": found.own_disk_bytes,
        "osName": found.os_name,
        "osVersion": found.os_version,
        "kernelVersion": found.kernel_version,
        "architecture": found.architecture,
        "dockerVersion": found.docker_version,
    }


def capacity(found: CapacityEstimate | None) -> Shape | None:
    """Describe what a server can carry."""
    if found is None:
        return None
    return {
        "cpuAvailable": found.cpu_available,
        "ramAvailableMB": found.ram_available_mb,
        "diskAvailableGB": found.disk_available_gb,
        "maxInstances": found.max_instances,
        "maxConcurrentUsers": found.max_concurrent_users,
        "reasoning": found.reasoning,
    }


def gains(found: Sequence[Gain]) -> list[Shape]:
    """Describe what a little more hardware would give."""
    return [{"of": one.of, "instances": one.instances, "users": one.users} for one in found]


def machine(found: MachineSize) -> Shape:
    """Describe a machine."""
    return {"cores": found.cores, "ramMB": found.ram_mb, "diskGB": found.disk_gb}


def run(result: RunResult) -> Shape:
    """Describe how a run ended; its status and its error are the outcome's."""
    return {
        "runId": result.run_id,
        "isolation": result.isolation,
        "hostKey": host_key(result.host_key),
        "steps": [step_result(one) for one in result.steps],
        "specs": specs(result.specs),
        "notes": list(result.notes),
    }


def plan(made: Plan) -> Shape:
    """Describe a plan, with its hash."""
    return {"hash": made.hash, **made.to_dict()}


def drift(found: Drift) -> Shape:
    """Describe drift."""
    return {
        "drifted": bool(found),
        "steps": [{"step": one.step, "so": one.so, "reasons": list(one.reasons)} for one in found.steps],
    }


def steps(registry: Iterable[Step]) -> list[Shape]:
    """Describe the registry of steps."""
    return [
        {
            "step": one.name,
            "does": one.does,
            "timeoutSeconds": one.timeout,
            "needs": list(one.needs),
            "validates": one.validates,
        }
        for one in registry
    ]
