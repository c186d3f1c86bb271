"""The values that go in and come out: servers, credentials, options, steps' results, runs, plans."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from ocore.errors import ConfigError, ErrorCode, Failure, RunFailed
from ocore.intake import address, keys
from ocore.intake.hostkeys import HostKey, check_fingerprint

if TYPE_CHECKING:
    from datetime import datetime

    from ocore.specs import HardwareSpecs

MAX_PASSWORD: Final = 1024
MAX_ID: Final = 64
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# It becomes part of ssh's options, where a blank ends a word and % begins a placeholder.
_SOCKET: Final = re.compile(r"/[A-Za-z0-9_./@:,+=-]{1,200}")
# What an HTTP header takes as it is.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")


def check_password(name: str, value: str | None) -> None:
    """Raise ConfigError where a password, if there is one, breaks the rule."""
    if value is None:
        return
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_PASSWORD:
        raise ConfigError(name, f"must be 1-{MAX_PASSWORD} characters")
    if any(character in value for character in "\0\r\n"):
        raise ConfigError(name, "must have no NUL and no line break")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(name, "must be valid Unicode") from None


def _is_socket(path: str) -> bool:
    return bool(_SOCKET.fullmatch(path)) and Path(path).is_socket()


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to log in and to become root. Nothing of it is ever shown by repr().

    Attributes:
        private_key: an OpenSSH or PEM private key without passphrase.
        password: the login password; used where no key is given.
        sudo_password: for users other than root; the login password where it is not given.
        agent_socket: path of a running ssh-agent's socket, to use its keys instead of `private_key`.

    """

    private_key: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    sudo_password: str | None = field(default=None, repr=False)
    agent_socket: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work, and normalise the key."""
        if self.private_key is not None:
            object.__setattr__(self, "private_key", keys.normalise(self.private_key))
        check_password("password", self.password)
        check_password("sudo_password", self.sudo_password)
        if self.agent_socket is not None and not _is_socket(self.agent_socket):
            raise ConfigError("agent_socket", "must be the absolute path of a socket, without blanks and %")
        given = [self.private_key, self.password, self.agent_socket]
        if sum(one is not None for one in given) != 1:
            raise ConfigError(
                "credentials", "give exactly one of private_key, password, agent_socket", ErrorCode.SECRET_REQUIRED
            )

    @property
    def becoming(self) -> str | None:
        """The password that sudo is given, if it asks."""
        return self.sudo_password if self.sudo_password is not None else self.password

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret in here, for taking them out of texts."""
        return tuple(one for one in (self.private_key, self.password, self.sudo_password) if one)


@dataclass(frozen=True, slots=True)
class Server:
    """A managed machine and how to reach it.

    Attributes:
        host: an IPv4 or IPv6 address or a name.
        credentials: how to log in.
        user: whom to log in as.
        port: sshd's port.
        host_key: the pinned key; None: the first key seen is reported in `RunResult.host_key`, for the caller to pin.
        expected_fingerprint: with no pin: the fingerprint that the first key must have.
        id: names the server in its marker file; made from host and port where it is not given.
        agent_token: the token of the server's own with which its agent tells the service how it is doing.

    """

    host: str
    credentials: Credentials
    user: str = "root"
    port: int = 22
    host_key: HostKey | None = None
    expected_fingerprint: str | None = None
    id: str = ""
    agent_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check every field against its rule."""
        if not isinstance(self.credentials, Credentials):
            raise ConfigError("credentials", "must be Credentials")
        if self.host_key is not None and not isinstance(self.host_key, HostKey):
            raise ConfigError("host_key", "must be a HostKey; HostKey.parse reads one from text")
        object.__setattr__(self, "host", address.check_host(self.host))
        address.check_user(self.user)
        address.check_port(self.port)
        if self.expected_fingerprint is not None:
            object.__setattr__(self, "expected_fingerprint", check_fingerprint(self.expected_fingerprint))
        if not self.id:
            object.__setattr__(self, "id", str(uuid.uuid5(uuid.NAMESPACE_URL, f"ssh://{self.host}:{self.port}")))
        if len(self.id) > MAX_ID or not _ID.fullmatch(self.id):
            raise ConfigError("id", f"must be 1-{MAX_ID} of letters, digits, . _ - and begin with a letter or digit")
        if self.agent_token is not None and not _TOKEN.fullmatch(self.agent_token):
            raise ConfigError("agent_token", "must be 16-512 of letters, digits, . _ ~ + / = -")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret in here, for taking them out of texts."""
        return (*self.credentials.secrets, *([self.agent_token] if self.agent_token else []))

    @property
    def address(self) -> str:
        """The server as people write it: USER@HOST:PORT."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"


class StepStatus(StrEnum):
    """How a step stands or ended."""

    RUNNING = "running"
    SUCCESS = "success"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class StepResult:
    """How one step ended.

    Attributes:
        step: its name.
        status: `unchanged` means that it was already so and none of its tasks ran.
        message: for people.
        started_at: UTC.
        finished_at: UTC.
        duration_ms: by a clock that does not jump.
        changed: how many tasks changed something.
        tasks: how many tasks of the role ran.
        error: why it failed.

    """

    step: str
    status: StepStatus
    message: str
    started_at: datetime
    finished_at: datetime
    duration_ms: int
    changed: int = 0
    tasks: int = 0
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One thing that Ansible reported about a task.

    Attributes:
        step: the step it belongs to.
        task: the task's name.
        kind: started, ok, changed, skipped, failed, retry; `gap` says that events were dropped here.
        message: for people; without control characters and without our secrets.
        at: UTC.

    """

    step: str
    task: str
    kind: Literal["started", "ok", "changed", "skipped", "failed", "retry", "gap"]
    message: str
    at: datetime


class RunStatus(StrEnum):
    """How a run ended."""

    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. A failed run is a value like any other.

    Attributes:
        kind: validate, provision, cleanup, gather or look (for plans and drift).
        run_id: names the run on the server, too.
        status: how it ended.
        steps: one result for each step, in order.
        specs: the hardware that was found; None where the run did not get that far.
        host_key: the key that the server showed; pin it.
        error: why it failed.
        isolation: "full" where the run had namespaces of its own, "reduced" where the machine refuses them,
            "replayed" where no server was reached at all.
        notes: what the run wants to be known: kept by cleanup, a reboot that is needed.
        reading: what was read of each step before anything ran, for plans and drift.

    """

    kind: str
    run_id: str
    status: RunStatus
    steps: tuple[StepResult, ...]
    specs: HardwareSpecs | None = None
    host_key: HostKey | None = None
    error: Failure | None = None
    isolation: Literal["full", "reduced", "replayed"] = "full"
    notes: tuple[str, ...] = ()
    reading: tuple[StepReading, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the run did what it was asked."""
        return self.status is RunStatus.SUCCESS

    def raise_for_status(self) -> Self:
        """Return this result, or raise RunFailed where the run did not succeed."""
        if not self.ok:
            raise RunFailed(self)
        return self


@dataclass(frozen=True, slots=True)
class StepReading:
    """What one look at the server said about a step.

    Attributes:
        step: its name.
        so: whether everything that the step wants is already so.
        due: whether the step will run.
        reasons: why it will; empty where it will not.
        conditions: how many things were looked at.

    """

    step: str
    so: bool
    due: bool
    reasons: tuple[str, ...] = ()
    conditions: int = 0


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a plan: whether it will run, and why."""

    step: str
    run: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a provisioning run would do now. The same server in the same state gives the same bytes.

    Attributes:
        server_id: the server's id.
        options: the options that it was made with, as role variables.
        content: digest of the playbooks and roles that would run, a site's among them.
        steps: every step in order.

    """

    server_id: str
    options: dict[str, Any]
    content: str
    steps: tuple[PlannedStep, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data, without its hash."""
        return {
            "content": self.content,
            "options": self.options,
            "serverId": self.server_id,
            "steps": [{"step": one.step, "run": one.run, "reasons": list(one.reasons)} for one in self.steps],
        }

    def to_json(self) -> str:
        """Return the plan in its one canonical spelling."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical spelling, in hex."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Drift:
    """Which steps are no longer so, and which depend on those. Empty where the server is as it was provisioned."""

    steps: tuple[StepReading, ...]

    def __bool__(self) -> bool:
        """Tell whether anything drifted."""
        return bool(self.steps)
