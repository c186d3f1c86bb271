"""What goes in and comes out, as JSON: the seed's shapes, field by field, and our own beside them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

import ocore
from api.data.tables import RunKind, RunState, ServerStatus

MAX_NAME = 100
MAX_DESCRIPTION = 1000
MAX_SESSIONS = 50


def _stamp(moment: datetime) -> str:
    """Return a moment as RFC 3339 has it, in UTC and with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(text: str) -> str:
    """Refuse what no database takes as text."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must be valid Unicode without NUL")
    return text


def _name(text: str) -> str:
    trimmed = _plain(text).strip()
    if not 1 <= len(trimmed) <= MAX_NAME or not trimmed.isprintable():
        raise ValueError(f"must be 1-{MAX_NAME} characters without control characters, blanks around it not counted")
    return trimmed


def _password(text: str | None) -> str | None:
    ocore.check_password("sshPassword", text)
    return text


def _private_key(text: str | None) -> str | None:
    return ocore.check_private_key(text) if text is not None else None


def _given(value: Any) -> Any:
    """Take an empty credential for none."""
    return None if value == "" else value


Moment = Annotated[
    datetime, PlainSerializer(_stamp), WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization")
]
Number = Annotated[int, WithJsonSchema({"type": "number"}, mode="serialization")]
Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_NAME})]
Host = Annotated[str, AfterValidator(ocore.check_host), WithJsonSchema({"type": "string", "format": "ssh-host"})]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
User = Annotated[
    str,
    AfterValidator(ocore.check_user),
    WithJsonSchema({"type": "string", "pattern": r"^[a-z_][a-z0-9._-]{0,63}$"}),
]
PrivateKey = Annotated[
    str | None,
    BeforeValidator(_given),
    AfterValidator(_private_key),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "ssh-private-key"}, {"type": "null"}]}),
]
Password = Annotated[
    str | None,
    BeforeValidator(_given),
    AfterValidator(_password),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "ssh-password", "maxLength": 1024}, {"type": "null"}]}),
]
Sessions = Annotated[StrictInt, Field(ge=1, le=MAX_SESSIONS)]
EventNumber = Annotated[str | None, WithJsonSchema({"type": "string", "pattern": "^[0-9]{0,9}$"})]
IdempotencyKey = Annotated[str | None, WithJsonSchema({"type": "string", "pattern": "^[!-~]{1,255}$"})]
PlainText = Annotated[str, AfterValidator(_plain)]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION), AfterValidator(_plain)]
AuthMethod = Literal["key", "password"]
ProxyType = Literal["caddy", "nginx", "none"]
# The service checks them: it knows which ones go with the kind of run.
ChosenStep = Annotated[
    str, WithJsonSchema({"type": "string", "enum": [step.name for step in ocore.STEPS if not step.validates]})
]
Fingerprint = Annotated[
    str,
    AfterValidator(ocore.check_fingerprint),
    WithJsonSchema({"type": "string", "pattern": "^SHA256:[A-Za-z0-9+/]{43}$"}),
]


class _Request(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", hide_input_in_errors=True)


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)


class ServerCreate(_Request):
    """How to reach a new server."""

    name: Name
    host: Host
    port: Port = 22
    ssh_user: User = "root"
    auth_method: AuthMethod = "key"
    ssh_private_key: PrivateKey = None
    ssh_password: Password = None
    max_ssh_sessions: Sessions = 5
    description: Description = ""
    proxy_type: ProxyType | None = None


class ServerUpdate(_Request):
    """What is to change of a server; what is absent stays. The defaults here stand for "absent" only."""

    name: Name = ""
    host: Host = ""
    port: Port = 0
    ssh_user: User = ""
    auth_method: AuthMethod = "key"
    ssh_private_key: PrivateKey = None
    ssh_password: Password = None
    max_ssh_sessions: Sessions = 0
    description: Description = ""
    proxy_type: ProxyType = "none"


class HostKeyReset(_Request):
    """The fingerprint that the next connection is to show."""

    expected_fingerprint: Fingerprint | None = None


class RunCreate(_Request):
    """What a new run is to do."""

    kind: Literal["provision", "validate", "drift"] = "provision"
    force: StrictBool = False
    steps: list[ChosenStep] = Field(default_factory=list, max_length=50)


class ServerOut(_Answer):
    """A server, as lists have it."""

    id: str
    name: str
    host: str
    port: int
    ssh_user: str
    auth_method: str
    max_ssh_sessions: int
    description: str
    proxy_type: str
    status: ServerStatus
    status_message: str
    provisioning_step: str
    os_name: str | None
    os_version: str | None
    cpu_cores: int
    ram_total_bytes: int
    last_seen_at: Moment | None
    created_at: Moment
    updated_at: Moment


class CapacityOut(_Answer):
    """What a server can carry, and why."""

    cpu_available: float
    ram_available_mb: Number = Field(alias="ramAvailableMB")
    disk_available_gb: Number = Field(alias="diskAvailableGB")
    max_instances: int
    max_concurrent_users: int
    reasoning: str


class GainOut(_Answer):
    """What one more of something would give."""

    of: str
    instances: int
    users: int


class SizeOut(_Answer):
    """The smallest machine that is enough, what it carries, and what a little more of it would give."""

    cores: int
    ram_mb: int = Field(alias="ramMB")
    disk_gb: int = Field(alias="diskGB")
    capacity: CapacityOut
    gains: list[GainOut]


class ServerDetail(ServerOut):
    """A server with its hardware, its agent and its capacity."""

    kernel_version: str | None
    architecture: str | None
    docker_version: str | None
    disk_total_bytes: int
    host_key_fingerprint: str | None
    agent_status: str
    agent_version: str | None
    agent_last_seen_at: Moment | None
    capacity: CapacityOut


class ServerList(_Answer):
    """The servers of an organization."""

    servers: list[ServerOut]


class StepLogOut(_Answer):
    """One attempt at one step."""

    id: str
    step: str
    status: str
    message: str
    started_at: Moment
    completed_at: Moment | None
    duration_ms: int


class StepLogList(_Answer):
    """Every attempt at every step of a server, oldest first."""

    logs: list[StepLogOut]


class Message(_Answer):
    """One sentence."""

    message: str


class RunOut(_Answer):
    """One pass over a server."""

    id: str
    server_id: str
    kind: RunKind
    state: RunState
    force: bool
    steps: list[str]
    attempt: int
    isolation: str
    error_code: str
    message: str
    created_by: str
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None


class RunList(_Answer):
    """The runs of a server, newest first."""

    runs: list[RunOut]


class PlannedStepOut(_Answer):
    """One step of a plan: whether it would run, and why."""

    step: str
    run: bool
    reasons: list[str]


class PlanOut(_Answer):
    """What a provisioning run would do, as of the last drift run; nothing is known where `checkedAt` is null."""

    checked_at: Moment | None
    run_id: str | None
    hash: str | None
    steps: list[PlannedStepOut]


class DriftOut(_Answer):
    """Which steps are no longer so, as of the last drift run; nothing is known where `checkedAt` is null."""

    checked_at: Moment | None
    run_id: str | None
    drifted: bool | None
    steps: list[PlannedStepOut]


class ProblemError(_Answer):
    """One field that breaks its rule."""

    pointer: str
    rule: str


class ProblemOut(_Answer):
    """Why a request failed, and what to do (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[ProblemError]
    remedy: str
    request_id: str


class Health(_Answer):
    """Whether the service can work."""

    status: Literal["ok", "failing"]
    checks: dict[str, str]
