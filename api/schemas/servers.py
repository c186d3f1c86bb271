"""The bodies of requests and answers about servers."""

from __future__ import annotations

from api.data.tables import ServerStatus
from api.schemas.capacity import CapacityOut
from api.schemas.fields import (
    Answer,
    AuthMethod,
    Description,
    Fingerprint,
    Host,
    Moment,
    Name,
    Password,
    Port,
    PrivateKey,
    ProxyType,
    Request,
    Sessions,
    User,
)


class ServerCreate(Request):
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


class ServerUpdate(Request):
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


class HostKeyReset(Request):
    """The fingerprint that the next connection is to show."""

    expected_fingerprint: Fingerprint | None = None


class ServerOut(Answer):
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


class ServerList(Answer):
    """The servers of an organization."""

    servers: list[ServerOut]


class StepLogOut(Answer):
    """One attempt at one step."""

    id: str
    step: str
    status: str
    message: str
    started_at: Moment
    completed_at: Moment | None
    duration_ms: int


class StepLogList(Answer):
    """Every attempt at every step of a server, oldest first."""

    logs: list[StepLogOut]


class Message(Answer):
    """One sentence."""

    message: str
