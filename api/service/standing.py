"""How a server's agent stands: what runs and heartbeats tell of it, and what its silence means."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from api.data.tables import AgentStatus, now

if TYPE_CHECKING:
    from datetime import datetime

    from api.data.tables import Server
    from api.settings import Settings

# Silence that is no more than a few heartbeats, or a restart of this service, says nothing.
_LEAST_SILENCE: Final = timedelta(seconds=120)
_HEARTBEATS: Final = 3


def limit(settings: Settings) -> timedelta:
    """Return after which silence an agent is stale."""
    return max(_LEAST_SILENCE, _HEARTBEATS * timedelta(seconds=settings.agent_interval))


def status(server: Server, settings: Settings, moment: datetime | None = None) -> AgentStatus:
    """Return how a server's agent stands now: what was told last, and the silence since."""
    told = AgentStatus(server.agent_status)
    if told not in {AgentStatus.INSTALLING, AgentStatus.CONNECTED}:
        return told
    since = server.agent_last_seen_at if told == AgentStatus.CONNECTED else server.agent_since
    silent = since is not None and (moment or now()) - since > limit(settings)
    return AgentStatus.STALE if silent else told


def set_status(server: Server, told: AgentStatus) -> None:
    """Write down how an agent stands."""
    if server.agent_status != told:
        server.agent_status, server.agent_since = told, now()


def step_began(server: Server, settings: Settings) -> None:
    """Write down that the agent's step is reached."""
    if settings.agent_url and server.agent_status != AgentStatus.CONNECTED:
        server.agent_since = now()
        set_status(server, AgentStatus.INSTALLING)


def step_ended(server: Server, settings: Settings, *, well: bool) -> None:
    """Write down how the agent's step ended."""
    if not settings.agent_url:
        if well:  # it is not there any more, and its token worthless
            server.sealed_agent_token = server.agent_token_hash = None
            server.agent_version = server.agent_last_seen_at = None
            set_status(server, AgentStatus.NOT_INSTALLED)
    elif not well:
        set_status(server, AgentStatus.ERROR)


def vouches(server: Server, settings: Settings, moment: datetime) -> bool:
    """Tell whether an agent was heard of so lately that nobody has to be asked."""
    seen = server.agent_last_seen_at
    return seen is not None and moment - seen <= timedelta(seconds=settings.monitor_interval)
