"""Tables of webhooks: who wants to hear of what, and each message to each of them, until it is delivered and after."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Index, LargeBinary
from sqlmodel import Column, Field, SQLModel

from api.data.tables.columns import belongs_to, long_text, made, moment
from api.ids import new_id


class Webhook(SQLModel, table=True):
    """An address that wants to hear of events. The secret is sealed; see `api/security/seal.py`."""

    __tablename__ = "webhook"
    __table_args__ = (Index("webhook_of_organization", "organization_id", "id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    organization_id: str = belongs_to("organization")
    url: str = long_text()
    description: str = long_text()
    events: list[str] = Field(default_factory=list, sa_column=Column(JSON(), nullable=False))
    enabled: bool = True
    disabled_reason: str = ""  # why the service disabled it; empty where nobody did, or somebody asked for it
    failing_since: datetime | None = moment()
    sealed_secret: bytes = Field(sa_column=Column(LargeBinary(), nullable=False))
    created_at: datetime = made()
    updated_at: datetime = made()


class DeliveryState(StrEnum):
    """How a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(SQLModel, table=True):
    """One message to one webhook: the outbox, and the log afterwards."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (Index("delivery_of_webhook", "webhook_id", "id"), Index("delivery_due", "state", "next_at"))

    id: str = Field(default_factory=new_id, primary_key=True)
    webhook_id: str = belongs_to("webhook")
    message_id: str
    event: str
    body: str = long_text()
    state: str = DeliveryState.PENDING
    tries: int = 0  # since it was made, or replayed
    attempts: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON(), nullable=False))
    # While somebody sends it: until when it is left to them.
    next_at: datetime | None = moment()
    created_at: datetime = moment(nullable=False, index=True)
