"""The tables. A change here needs a migration in `migrations/versions`; a test compares the two."""

from api.data.tables.access import Answer, Organization, RevokedToken
from api.data.tables.audit import AuditEntry
from api.data.tables.columns import UtcDateTime, now
from api.data.tables.holding import Lead, Session
from api.data.tables.receipts import Receipt, ReceiptKey
from api.data.tables.runs import Event, Run, RunKind, RunState, StepLog
from api.data.tables.servers import Server, ServerStatus
from api.data.tables.webhooks import Delivery, DeliveryState, Webhook

__all__ = [
    "Answer",
    "AuditEntry",
    "Delivery",
    "DeliveryState",
    "Event",
    "Lead",
    "Organization",
    "Receipt",
    "ReceiptKey",
    "RevokedToken",
    "Run",
    "RunKind",
    "RunState",
    "Server",
    "ServerStatus",
    "Session",
    "StepLog",
    "UtcDateTime",
    "Webhook",
    "now",
]
