"""Tables of runs: the queue, and the record afterwards."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

from sqlalchemy import JSON, Index, text
from sqlmodel import Column, Field, SQLModel

from api.data.tables.columns import belongs_to, long_text, made, moment
from api.ids import new_id


class RunKind(StrEnum):
    """What a run does."""

    VALIDATE = "validate"
    PROVISION = "provision"
    DRIFT = "drift"
    CLEANUP = "cleanup"


class RunState(StrEnum):
    """How a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunPriority(IntEnum):
    """Which run goes before another: what nobody asked for waits for what somebody did."""

    ASKED = 0
    BACKGROUND = 1


class Run(SQLModel, table=True):
    """One pass over a server: the queue of record, and the record afterwards."""

    __tablename__ = "run"
    __table_args__ = (
        # At most one waits and one runs for each server.
        Index(
            "run_queued",
            "server_id",
            unique=True,
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "run_running",
            "server_id",
            unique=True,
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
        Index("run_waiting", "state", "organization_id", "id"),
        Index("run_of_server", "server_id", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    server_id: str = belongs_to("server")
    organization_id: str = belongs_to("organization")
    kind: str
    state: str = RunState.QUEUED
    generation: int
    force: bool = False
    steps: list[str] = Field(default_factory=list, sa_column=Column(JSON(), nullable=False))
    created_by: str = ""
    priority: int = Field(default=RunPriority.ASKED, sa_column_kwargs={"server_default": "0"})
    batch_id: str | None = Field(default=None, index=True)

    attempt: int = 0
    # Grows with each claim and each loss: a write that carries an older one is refused.
    fence: int = 0
    lease_owner: str = ""
    lease_until: datetime | None = moment()
    start_after: datetime | None = moment()
    cancel_reason: str = ""  # empty: nobody wants it to stop
    # What it was made with (`ocore.basis`): settings and roles may be others by the time that somebody asks.
    basis: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(), nullable=True))

    error_code: str = ""
    message: str = long_text()
    isolation: str = ""
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(), nullable=True))
    created_at: datetime = made()
    started_at: datetime | None = moment()
    finished_at: datetime | None = moment(index=True)


class StepLog(SQLModel, table=True):
    """One attempt at one step."""

    __tablename__ = "step_log"
    __table_args__ = (Index("step_log_of_server", "server_id", "id"), Index("step_log_of_run", "run_id", "step"))

    id: str = Field(default_factory=new_id, primary_key=True)
    server_id: str = belongs_to("server")
    run_id: str = belongs_to("run")
    step: str
    status: str
    message: str = long_text()
    started_at: datetime = moment(nullable=False)
    completed_at: datetime | None = moment()
    duration_ms: int = 0


class Event(SQLModel, table=True):
    """One thing that happened in a run. Only who holds the run writes them, so their numbers have no holes."""

    __tablename__ = "event"

    run_id: str = belongs_to("run", primary=True)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    type: str
    data: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON(), nullable=False))
    at: datetime = moment(nullable=False, index=True)
