"""The table of who changed what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Text
from sqlmodel import Column, Field, SQLModel

from api.data.tables.columns import UtcDateTime, long_text, now
from api.ids import new_id


class AuditEntry(SQLModel, table=True):
    """One change, and who made it. It is written in the change's own transaction, and never changed."""

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index("audit_of_organization", "organization_id", "id"),
        Index("audit_of_server", "organization_id", "server_id", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    at: datetime = Field(default_factory=now, sa_column=Column(UtcDateTime(), nullable=False, index=True))
    # Null: about the service as a whole.
    organization_id: str | None = Field(
        default=None, sa_column=Column(Text(), ForeignKey("organization.id", ondelete="CASCADE"), nullable=True)
    )
    actor_kind: str
    actor: str
    token_id: str = ""
    request_id: str = ""
    action: str
    object_kind: str = ""
    object_id: str = ""
    object_name: str = ""
    # No foreign key: a server goes, and what was done to it stays known.
    server_id: str = ""
    changes: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON(), nullable=False))
    detail: str = long_text()
