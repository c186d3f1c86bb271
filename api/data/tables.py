"""The tables. A change here needs a migration in `migrations/versions`; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.types import TypeDecorator
from sqlmodel import Column, Field, SQLModel

from api.ids import new_id


class UtcDateTime(TypeDecorator[datetime]):
    """A moment with its time zone, which SQLite does not keep: it is UTC there."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Refuse a moment without a zone, which would be taken for another one."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Return the moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class ServerStatus(StrEnum):
    """How a server stands; ARCHITECTURE's states."""

    PENDING = "pending"
    VALIDATING = "validating"
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    UNREACHABLE = "unreachable"
    ERROR = "error"
    REMOVING = "removing"


class RunKind(StrEnum):
    """What a run does."""

    VALIDATE = "validate"
    PROVISION = "provision"
    DRIFT = "drift"
    CLEANUP = "cleanup"


class RunState(StrEnum):
    """How a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _moment(*, nullable: bool = True, index: bool = False) -> Any:
    return Field(default=None, sa_column=Column(UtcDateTime(), nullable=nullable, index=index))


def _made() -> Any:
    return Field(default_factory=now, sa_column=Column(UtcDateTime(), nullable=False))


def _text(default: str = "") -> Any:
    return Field(default=default, sa_column=Column(Text(), nullable=False))


def _of(table: str, *, primary: bool = False) -> Any:
    """Declare a column that goes with a row of another table."""
    return Field(
        sa_column=Column(Text(), ForeignKey(f"{table}.id", ondelete="CASCADE"), nullable=False, primary_key=primary)
    )


class Organization(SQLModel, table=True):
    """Whose servers they are."""

    __tablename__ = "organization"

    id: str = Field(default_factory=new_id, primary_key=True)
    name: str = Field(unique=True)
    created_at: datetime = _made()


class RevokedToken(SQLModel, table=True):
    """A token that is no longer taken, until it would have ended by itself."""

    __tablename__ = "revoked_token"

    id: str = Field(primary_key=True)
    expires_at: datetime = _moment(nullable=False)


class Server(SQLModel, table=True):
    """A managed server. `sealed_*` hold secrets, encrypted; see `api/security/seal.py`."""

    __tablename__ = "server"
    __table_args__ = (
        UniqueConstraint("organization_id", "name", name="server_name"),
        UniqueConstraint("organization_id", "host", "port", name="server_address"),
        Index("server_watched", "status", "probe_at"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    organization_id: str = _of("organization")
    name: str
    host: str
    port: int
    ssh_user: str
    auth_method: str
    max_ssh_sessions: int
    description: str = _text()
    proxy_type: str
    sealed_private_key: bytes | None = Field(default=None, sa_column=Column(LargeBinary(), nullable=True))
    sealed_password: bytes | None = Field(default=None, sa_column=Column(LargeBinary(), nullable=True))

    status: str = ServerStatus.PENDING
    status_message: str = _text()
    status_code: str = ""  # the library's error code, where the status is `error` or `unreachable`
    provisioning_step: str = ""
    # Counts what a run depends on: a run of an older generation changes nothing any more.
    generation: int = 1
    touched: bool = False  # whether anything was ever changed on it, so that there is something to clean up
    provisioned: bool = False

    host_key: str | None = Field(default=None, sa_column=Column(Text(), nullable=True))
    host_key_epoch: int = 0
    expected_fingerprint: str | None = None

    os_name: str | None = None
    os_version: str | None = None
    kernel_version: str | None = None
    architecture: str | None = None
    docker_version: str | None = None
    cpu_cores: int = 0
    ram_total_bytes: int = Field(default=0, sa_column=Column(BigInteger(), nullable=False))
    disk_total_bytes: int = Field(default=0, sa_column=Column(BigInteger(), nullable=False))
    disk_free_bytes: int = Field(default=0, sa_column=Column(BigInteger(), nullable=False))
    own_disk_bytes: int = Field(default=0, sa_column=Column(BigInteger(), nullable=False))

    agent_status: str = "not_installed"
    agent_version: str | None = None
    agent_last_seen_at: datetime | None = _moment()
    last_seen_at: datetime | None = _moment()
    misses: int = 0
    probe_at: datetime | None = _moment()
    created_at: datetime = _made()
    updated_at: datetime = _made()


class Run(SQLModel, table=True):
    """One pass over a server: the queue of record, and the record afterwards."""

    __tablename__ = "run"
    __table_args__ = (
        # At most one waits and one runs for each server.
        Index(
            "run_queued",
            "server_id",
            unique=True,
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "run_running",
            "server_id",
            unique=True,
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
        Index("run_waiting", "state", "organization_id", "id"),
        Index("run_of_server", "server_id", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    server_id: str = _of("server")
    organization_id: str = _of("organization")
    kind: str
    state: str = RunState.QUEUED
    generation: int
    force: bool = False
    steps: list[str] = Field(default_factory=list, sa_column=Column(JSON(), nullable=False))
    created_by: str = ""

    attempt: int = 0
    # Grows with each claim and each loss: a write that carries an older one is refused.
    fence: int = 0
    lease_owner: str = ""
    lease_until: datetime | None = _moment()
    start_after: datetime | None = _moment()
    cancel_reason: str = ""  # empty: nobody wants it to stop

    error_code: str = ""
    message: str = _text()
    isolation: str = ""
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(), nullable=True))
    created_at: datetime = _made()
    started_at: datetime | None = _moment()
    finished_at: datetime | None = _moment(index=True)


class StepLog(SQLModel, table=True):
    """One attempt at one step."""

    __tablename__ = "step_log"
    __table_args__ = (Index("step_log_of_server", "server_id", "id"), Index("step_log_of_run", "run_id", "step"))

    id: str = Field(default_factory=new_id, primary_key=True)
    server_id: str = _of("server")
    run_id: str = _of("run")
    step: str
    status: str
    message: str = _text()
    started_at: datetime = _moment(nullable=False)
    completed_at: datetime | None = _moment()
    duration_ms: int = 0


class Event(SQLModel, table=True):
    """One thing that happened in a run. Only who holds the run writes them, so their numbers have no holes."""

    __tablename__ = "event"

    run_id: str = _of("run", primary=True)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    type: str
    data: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON(), nullable=False))
    at: datetime = _moment(nullable=False, index=True)


class Session(SQLModel, table=True):
    """An SSH connection to a server that somebody may have open."""

    __tablename__ = "ssh_session"

    id: str = Field(primary_key=True)
    server_id: str = _of("server")
    until: datetime = _moment(nullable=False)


class Answer(SQLModel, table=True):
    """What a request with an Idempotency-Key was answered."""

    __tablename__ = "idempotent_answer"

    organization_id: str = _of("organization", primary=True)
    key: str = Field(primary_key=True)
    fingerprint: str
    status: int
    body: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON(), nullable=False))
    created_at: datetime = _made()


class Lead(SQLModel, table=True):
    """Who does what only one process may do at a time."""

    __tablename__ = "lead"

    name: str = Field(primary_key=True)
    owner: str
    until: datetime = _moment(nullable=False)
