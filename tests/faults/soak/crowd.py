"""Five hundred servers: a few real hosts, taken in by the service itself, and rows like theirs for the rest.

The rest leads to the real hosts' sshd by ports of its own, so that the monitor meets somebody with the right host key;
every other one has an agent, for whom the soak speaks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlmodel import select

from api.data.database import Database
from api.data.tables import AgentStatus, Server, now
from api.ids import new_id
from api.service.agents import digest, new_token
from api.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.e2e.served import Client, Served
    from tests.faults.soak.doors import Doors
    from tests.hosts import Host

# What a copy does not share with the server that it is a copy of.
_OWN: Final = {"id", "name", "host", "port", "sealed_private_key", "sealed_password", "sealed_agent_token"}
_OWN |= {"agent_token_hash", "agent_status", "agent_since", "agent_version", "agent_last_seen_at", "address"}


@dataclass
class Tenant:
    """An organization: its client, its real server, and all of its servers."""

    client: Client
    host: Host
    server: str = ""
    servers: list[str] = field(default_factory=list)


def taken_in(tenants: Sequence[Tenant], seconds: float) -> None:
    """Have each tenant's host provisioned."""
    for tenant in tenants:
        tenant.server = tenant.client.create(tenant.host, proxyType="none")["id"]
        tenant.servers.append(tenant.server)
    for tenant in tenants:
        tenant.client.until(tenant.server, "active", seconds)


def settings_of(served: Served) -> Settings:
    """Return the service's settings, for what reads and writes its database beside it."""
    return Settings(home=served.home, database_url=served.storage.get("OCORE_DATABASE_URL", ""))


def crowded(served: Served, tenants: Sequence[Tenant], doors: Doors) -> list[str]:
    """Give the tenants the rest of their servers, one for each door; return the tokens of the agents that they have."""
    database, tokens = Database(settings_of(served)), []
    try:
        with database.write() as session:
            real = {one.id: one for one in session.exec(select(Server)).all()}
            for number, port in enumerate(doors.ports):
                tenant = tenants[number % len(tenants)]
                copy = _copy(real[tenant.server], f"copy {number:03}", port)
                if number % 2:
                    tokens.append(_with_agent(copy))
                session.add(copy)
                tenant.servers.append(copy.id)
    finally:
        database.close()
    return tokens


def _copy(server: Server, name: str, port: int) -> Server:
    fields = server.model_dump(exclude=_OWN)
    return Server(**fields, id=new_id(), name=name, host="127.0.0.1", port=port)


def _with_agent(server: Server) -> str:
    token = new_token()
    server.agent_token_hash = digest(token)
    server.agent_status, server.agent_since = AgentStatus.CONNECTED, now()
    return token
