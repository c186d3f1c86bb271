"""What a receipt says of a run, as far as the library knows: what was run, on what, and how each step ended."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from ocore import content, receipts
from ocore.models import Plan, PlannedStep
from ocore.options import ProvisionOptions
from ocore.steps import VALIDATION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ocore.models import RunResult, Server, StepReading

_PACKAGES: Final = ("ocore", "ansible-core", "ansible-runner")


def planned(server: Server, options: ProvisionOptions, reading: Sequence[StepReading]) -> Plan:
    """Return the plan that a look at a server leads to."""
    validation = tuple(PlannedStep(name, run=True, reasons=("validation always runs",)) for name in VALIDATION)
    rest = tuple(PlannedStep(one.step, run=one.due, reasons=_why(one)) for one in reading)
    return Plan(server.id, options.variables(), content.digest(_site(options)), validation + rest)


def _site(options: ProvisionOptions) -> str:
    """Return the digest of the site whose steps a run has; empty where it has none."""
    return options.site.digest if options.site is not None else ""


def _why(reading: StepReading) -> tuple[str, ...]:
    """Return why a step will run, or why it will not."""
    if reading.due:
        return reading.reasons
    return ("not asked for",) if not reading.so else (f"all {reading.conditions} condition(s) hold",)


def tools(options: ProvisionOptions | None = None) -> dict[str, Any]:
    """Return what runs are made with: versions, and digests of the playbooks and roles, a site's among them."""
    options = options or ProvisionOptions()
    theirs = options.site.role_digests if options.site is not None else {}
    return {
        "versions": {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "content": content.digest(_site(options)),
        "site": _site(options),
        "roles": {**content.role_digests(), **theirs},
    }


def evidence(server: Server, options: ProvisionOptions, result: RunResult) -> dict[str, Any]:
    """Return what a receipt says of a run: texts, whole numbers, and digests of what is too large for it.

    Args:
        server: the server, as the run was given it.
        options: likewise.
        result: how the run ended.

    """
    return tools(options) | {
        "plan": planned(server, options, result.reading).hash if result.reading else None,
        "facts": receipts.digest(asdict(result.specs)) if result.specs is not None else None,
        "hostKey": result.host_key.fingerprint if result.host_key is not None else None,
        "isolation": result.isolation,
        "steps": [
            {
                "step": one.step,
                "status": str(one.status),
                "changed": one.changed,
                "tasks": one.tasks,
                "errorCode": str(one.error.code) if one.error is not None else "",
                "startedAt": stamp(one.started_at),
                "finishedAt": stamp(one.finished_at),
            }
            for one in result.steps
        ],
    }


def stamp(moment: datetime) -> str:
    """Return a moment (in UTC) as receipts have it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
