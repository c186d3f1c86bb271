"""From rows to what the API answers, and to the library's values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ocore
from api.errors import Problem
from api.schemas.audit import AuditEntryOut
from api.schemas.capacity import CapacityOut
from api.schemas.runs import DriftOut, PlannedStepOut, PlanOut, RunOut
from api.schemas.servers import ServerDetail, ServerOut, StepLogOut
from api.security.seal import Binding, KeyMissing, Seal, SealBroken
from api.service import standing

if TYPE_CHECKING:
    from api.data.tables import AuditEntry, Run, Server, StepLog
    from api.settings import Settings

PRIVATE_KEY = "sshPrivateKey"
AGENT_TOKEN = "agentToken"  # noqa: S105 - the name of a field
PASSWORD = "sshPassword"  # noqa: S105 - the name of a field
# A server of the library has credentials; these are sent nowhere.
_NO_SECRET = ocore.Credentials(password="-")  # noqa: S106 - see above
_SPECS = ("os_name", "os_version", "kernel_version", "architecture")
_SIZES = ("cpu_cores", "ram_total_bytes", "disk_total_bytes", "disk_free_bytes", "own_disk_bytes")


def server_out(server: Server) -> ServerOut:
    """Return a server as lists have it."""
    return ServerOut.model_validate(_fields(server, ServerOut))


def server_detail(server: Server, settings: Settings) -> ServerDetail:
    """Return a server with everything that is known of it."""
    data = _fields(server, ServerDetail)
    key = host_key(server)
    data |= {"host_key_fingerprint": key.fingerprint if key else None, "capacity": capacity(server, settings)}
    data["agent_status"] = standing.status(server, settings)
    return ServerDetail.model_validate(data)


def _fields(row: Any, model: type[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in model.model_fields if hasattr(row, name)}


@dataclass(frozen=True, slots=True)
class Asked:
    """What an estimate is asked for: a profile, and hardware that is added in thought."""

    profile: str
    cores: int = 0
    ram_mb: int = 0
    disk_gb: int = 0


def profile(settings: Settings, name: str | None) -> str:
    """Return the profile that is asked for, or raise `invalid`."""
    if name is not None and name not in settings.capacity.profiles:
        rule = f"must be one of {', '.join(settings.capacity.profiles)}"
        raise Problem("invalid", f"profile: {rule}.", errors=[("/profile", rule)])
    return name or settings.capacity_profile


def capacity(server: Server, settings: Settings, asked: Asked | None = None) -> CapacityOut:
    """Return what a server can carry, computed anew: it is pure arithmetic."""
    asked = asked or Asked(settings.capacity_profile)
    hardware = specs(server)
    if hardware.cpu_cores and hardware.ram_total_bytes:
        hardware = ocore.with_more(hardware, cores=asked.cores, ram_mb=asked.ram_mb, disk_gb=asked.disk_gb)
    return capacity_out(ocore.estimate(hardware, asked.profile, settings.capacity))


def capacity_out(found: ocore.CapacityEstimate) -> CapacityOut:
    """Return an estimate."""
    return CapacityOut.model_validate({name: getattr(found, name) for name in CapacityOut.model_fields})


def specs(server: Server) -> ocore.HardwareSpecs:
    """Return the hardware that is stored of a server; zeros where none is known yet."""
    found: dict[str, Any] = {name: getattr(server, name) or "" for name in _SPECS}
    found |= {name: getattr(server, name) for name in _SIZES}
    return ocore.HardwareSpecs(**found, docker_version=server.docker_version)


def specs_columns(found: ocore.HardwareSpecs) -> dict[str, Any]:
    """Return specs as columns; a text that is not known is null."""
    texts = {name: getattr(found, name) or None for name in (*_SPECS, "docker_version")}
    return texts | {name: getattr(found, name) for name in _SIZES}


def host_key(server: Server) -> ocore.HostKey | None:
    """Return the pinned key."""
    return ocore.HostKey.parse(server.host_key) if server.host_key else None


def log_out(log: StepLog) -> StepLogOut:
    """Return a row of the provisioning log."""
    return StepLogOut.model_validate(_fields(log, StepLogOut))


def run_out(run: Run) -> RunOut:
    """Return a run."""
    return RunOut.model_validate(_fields(run, RunOut))


def audit_out(entry: AuditEntry) -> AuditEntryOut:
    """Return an entry of the audit log."""
    data = _fields(entry, AuditEntryOut) | {"server_id": entry.server_id or None}
    actor = {"kind": entry.actor_kind, "name": entry.actor, "token_id": entry.token_id, "request_id": entry.request_id}
    thing = {"kind": entry.object_kind, "id": entry.object_id, "name": entry.object_name}
    return AuditEntryOut.model_validate(data | {"actor": actor, "object": thing})


def plan_out(run: Run | None) -> PlanOut:
    """Return the plan that a drift run made."""
    if run is None or run.result is None:
        return PlanOut(checked_at=None, run_id=None, hash=None, steps=[])
    steps = [PlannedStepOut.model_validate(step) for step in run.result["steps"]]
    return PlanOut(checked_at=run.finished_at, run_id=run.id, hash=run.result["hash"], steps=steps)


def drift_out(run: Run | None) -> DriftOut:
    """Return what of that plan is drift: the steps that would run, but for validation, which always does."""
    plan = plan_out(run)
    validating = {step.name for step in ocore.STEPS if step.validates}
    steps = [step for step in plan.steps if step.run and step.step not in validating]
    drifted = bool(steps) if plan.checked_at else None
    return DriftOut(checked_at=plan.checked_at, run_id=plan.run_id, drifted=drifted, steps=steps)


def binding(server: Server, field: str) -> Binding:
    """Return what a secret of a server is bound to."""
    return Binding(server.organization_id, server.id, field, server.host, server.port)


def library_server(server: Server, seal: Seal, agent_token: str | None = None) -> ocore.Server | ocore.Failure:
    """Return a server as the library takes it, with its secrets; a failure where one of them cannot be had."""
    try:
        key, password = _opened(server, PRIVATE_KEY, seal), _opened(server, PASSWORD, seal)
    except KeyMissing as missing:
        return key_missing(missing)
    except SealBroken:
        return _secret_required("was stored for another address; send it again with PUT")
    by_key = server.auth_method == "key"
    if (key if by_key else password) is None:
        return _secret_required("is not stored; send it with PUT")
    return ocore.Server(
        server.host,
        ocore.Credentials(
            private_key=key if by_key else None,
            password=None if by_key else password,
            sudo_password=password if by_key else None,
        ),
        user=server.ssh_user,
        port=server.port,
        host_key=host_key(server),
        expected_fingerprint=server.expected_fingerprint,
        id=server.id,
        agent_token=agent_token,
    )


def key_missing(missing: KeyMissing) -> ocore.Failure:
    """Return the failure that a secret cannot be opened here."""
    words = f"The server's secrets cannot be opened on this machine: {missing}. Copy the ring of encryption keys here."
    return ocore.Failure(ocore.ErrorCode.INTERNAL, words)


def known_server(server: Server) -> ocore.Server:
    """Return a server as the library takes it, without its secrets: for what contacts nobody."""
    return ocore.Server(server.host, _NO_SECRET, server.ssh_user, server.port, host_key(server), id=server.id)


def _opened(server: Server, field: str, seal: Seal) -> str | None:
    envelope = server.sealed_private_key if field == PRIVATE_KEY else server.sealed_password
    return seal.open(envelope, binding(server, field)) if envelope is not None else None


def _secret_required(words: str) -> ocore.Failure:
    return ocore.Failure(ocore.ErrorCode.SECRET_REQUIRED, f"The server's key or password {words}. Nothing was sent.")
