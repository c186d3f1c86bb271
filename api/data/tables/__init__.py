"""The tables. A change here needs a migration in `migrations/versions`; a test compares the two."""

from api.data.tables.access import Answer, Organization, RevokedToken
from api.data.tables.columns import UtcDateTime, now
from api.data.tables.holding import Lead, Session
from api.data.tables.runs import Event, Run, RunKind, RunState, StepLog
from api.data.tables.samples import Sample
from api.data.tables.servers import AgentStatus, Server, ServerStatus

__all__ = [
    "AgentStatus",
    "Answer",
    "Event",
    "Lead",
    "Organization",
    "RevokedToken",
    "Run",
    "RunKind",
    "RunState",
    "Sample",
    "Server",
    "ServerStatus",
    "Session",
    "StepLog",
    "UtcDateTime",
    "now",
]
