"""The bodies of requests and answers about batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from api.data.tables import RunKind, ServerStatus
from api.schemas.fields import Answer, Moment, PlainText
from api.schemas.runs import RunCreate

MAX_SERVERS = 500


class BatchCreate(RunCreate):
    """What many servers are to have done: those that are named, or those with a status or words in name or host."""

    servers: list[Annotated[PlainText, Field(max_length=64)]] | None = Field(
        default=None, min_length=1, max_length=MAX_SERVERS
    )
    status: ServerStatus | None = None
    q: Annotated[PlainText, Field(min_length=1, max_length=100)] | None = None
    max_concurrent: Annotated[StrictInt, Field(ge=1, le=100)] = 5
    max_failures: Annotated[StrictInt, Field(ge=0, le=MAX_SERVERS)] = 0


class CountsOut(Answer):
    """How many runs stand how."""

    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int


class BatchFailureOut(Answer):
    """A run that failed."""

    run_id: str
    server_id: str
    error_code: str
    message: str


class RefusedOut(Answer):
    """A server that could have no run, and why: the code and the words of the problem."""

    server_id: str
    code: str
    detail: str


class BatchOut(Answer):
    """A batch, and how its runs stand."""

    id: str
    kind: RunKind
    force: bool
    steps: list[str]
    state: Literal["running", "stopping", "finished", "cancelled", "stopped"]
    max_concurrent: int
    max_failures: int
    total: int
    counts: CountsOut
    failures: list[BatchFailureOut]
    refused: list[RefusedOut]
    created_by: str
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None


class BatchList(Answer):
    """The batches of an organization."""

    batches: list[BatchOut]
