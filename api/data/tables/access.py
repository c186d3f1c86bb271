"""Tables of who asks: organizations, tokens that are no longer taken, and answers that were given."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Column, Field, SQLModel

from api.data.tables.columns import belongs_to, made, moment
from api.ids import new_id


class Organization(SQLModel, table=True):
    """Whose servers they are."""

    __tablename__ = "organization"

    id: str = Field(default_factory=new_id, primary_key=True)
    name: str = Field(unique=True)
    # What it may have: as the settings say where none, without an end where 0.
    quota_servers: int | None = None
    quota_runs: int | None = None
    created_at: datetime = made()


class RevokedToken(SQLModel, table=True):
    """A token that is no longer taken, until it would have ended by itself."""

    __tablename__ = "revoked_token"

    id: str = Field(primary_key=True)
    expires_at: datetime = moment(nullable=False)


class Answer(SQLModel, table=True):
    """What a request with an Idempotency-Key was answered."""

    __tablename__ = "idempotent_answer"

    organization_id: str = belongs_to("organization", primary=True)
    key: str = Field(primary_key=True)
    fingerprint: str
    body: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON(), nullable=False))
    created_at: datetime = made(index=True)
