"""The tables. A change here needs a migration in `migrations/versions`; a test compares the two."""

from api.data.tables.access import Answer, Organization, RevokedToken
from api.data.tables.audit import AuditEntry
from api.data.tables.batches import Batch, BatchStop
from api.data.tables.columns import UtcDateTime, now, stamp
from api.data.tables.holding import Lead, MachineHold, Session
from api.data.tables.receipts import Receipt, ReceiptKey
from api.data.tables.runs import Event, Run, RunKind, RunPriority, RunState, StepLog
from api.data.tables.samples import Sample
from api.data.tables.servers import AgentStatus, Server, ServerStatus
from api.data.tables.webhooks import Delivery, DeliveryState, Webhook

__all__ = [
    "AgentStatus",
    "Answer",
    "AuditEntry",
    "Batch",
    "BatchStop",
    "Delivery",
    "DeliveryState",
    "Event",
    "Lead",
    "MachineHold",
    "Organization",
    "Receipt",
    "ReceiptKey",
    "RevokedToken",
    "Run",
    "RunKind",
    "RunPriority",
    "RunState",
    "Sample",
    "Server",
    "ServerStatus",
    "Session",
    "StepLog",
    "UtcDateTime",
    "Webhook",
    "now",
    "stamp",
]
