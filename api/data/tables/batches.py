"""The table of batches: runs of many servers that were asked for together."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Column, Field, SQLModel

from api.data.tables.columns import belongs_to, made
from api.ids import new_id


class BatchStop(StrEnum):
    """Why no more runs of a batch begin."""

    NOT = ""
    CANCELLED = "cancelled"
    FAILURES = "failures"


class Batch(SQLModel, table=True):
    """What runs of many servers have in common."""

    __tablename__ = "batch"

    id: str = Field(default_factory=new_id, primary_key=True)
    organization_id: str = belongs_to("organization")
    kind: str
    force: bool = False
    steps: list[str] = Field(default_factory=list, sa_column=Column(JSON(), nullable=False))
    max_concurrent: int
    max_failures: int = 0  # 0: it goes on whatever fails
    total: int = 0  # how many runs it was given
    # The servers that could have no run, each with the reason.
    refused: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON(), nullable=False))
    stopped: str = BatchStop.NOT
    created_by: str = ""
    created_at: datetime = made()
