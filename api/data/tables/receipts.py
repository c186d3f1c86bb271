"""Tables of receipts: they belong to the organization, and stay when their server is gone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, UniqueConstraint
from sqlmodel import Column, Field, SQLModel

from api.data.tables.columns import belongs_to, made
from api.ids import new_id


class Receipt(SQLModel, table=True):
    """A signed receipt, as it is handed out."""

    __tablename__ = "receipt"
    __table_args__ = (UniqueConstraint("server_id", "number", name="receipt_number"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    organization_id: str = belongs_to("organization")
    # No foreign keys: both go, and the receipt stays.
    server_id: str
    run_id: str
    number: int
    digest: str
    signed: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON(), nullable=False))
    created_at: datetime = made()


class ReceiptKey(SQLModel, table=True):
    """A public key that has signed a receipt: it is known for as long as what it signed."""

    __tablename__ = "receipt_key"

    key: str = Field(primary_key=True)
    created_at: datetime = made()
