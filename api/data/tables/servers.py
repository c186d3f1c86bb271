"""The table of servers."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Index, LargeBinary, Text, UniqueConstraint
from sqlmodel import Column, Field, SQLModel

from api.data.tables.columns import belongs_to, long_text, made, moment
from api.ids import new_id


class ServerStatus(StrEnum):
    """How a server stands; ARCHITECTURE's states."""

    PENDING = "pending"
    VALIDATING = "validating"
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    UNREACHABLE = "unreachable"
    ERROR = "error"
    REMOVING = "removing"


class AgentStatus(StrEnum):
    """How a server's agent stands."""

    NOT_INSTALLED = "not_installed"
    INSTALLING = "installing"
    CONNECTED = "connected"
    STALE = "stale"
    ERROR = "error"


class Server(SQLModel, table=True):
    """A managed server. `sealed_*` hold secrets, encrypted; see `api/security/seal.py`."""

    __tablename__ = "server"
    __table_args__ = (
        UniqueConstraint("organization_id", "name", name="server_name"),
        UniqueConstraint("organization_id", "host", "port", name="server_address"),
        Index("server_agent_token", "agent_token_hash", unique=True),
        Index("server_watched", "status", "probe_at"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    organization_id: str = belongs_to("organization")
    name: str
    host: str
    port: int
    ssh_user: str
    auth_method: str
    max_ssh_sessions: int
    description: str = long_text()
    proxy_type: str
    sealed_private_key: bytes | None = Field(default=None, sa_column=Column(LargeBinary(), nullable=True))
    sealed_password: bytes | None = Field(default=None, sa_column=Column(LargeBinary(), nullable=True))

    status: str = ServerStatus.PENDING
    status_message: str = long_text()
    status_code: str = ""  # the library's error code, where the status is `error` or `unreachable`
    provisioning_step: str = ""
    # Counts what a run depends on: a run of an older generation changes nothing any more.
    generation: int = 1
    touched: bool = False  # whether anything was ever changed on it, so that there is something to clean up
    provisioned: bool = False

    host_key: str | None = Field(default=None, sa_column=Column(Text(), nullable=True))
    host_key_epoch: int = 0
    expected_fingerprint: str | None = None
    # By what its machine is known, whoever else has it: the address last resolved to, and the key last shown.
    address: str | None = None
    shown_key: str | None = None

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

    # Its agent's token, sealed for later runs, and the digest by which a heartbeat's sender is known.
    sealed_agent_token: bytes | None = Field(default=None, sa_column=Column(LargeBinary(), nullable=True))
    agent_token_hash: str | None = None
    agent_status: str = AgentStatus.NOT_INSTALLED  # as it was last told; see `api/service/agents.py`
    agent_since: datetime | None = moment()  # since when it has that status
    agent_version: str | None = None
    agent_last_seen_at: datetime | None = moment()
    last_seen_at: datetime | None = moment()
    misses: int = 0
    probe_at: datetime | None = moment()
    drift_at: datetime | None = moment(index=True)
    created_at: datetime = made()
    updated_at: datetime = made()
