"""The bodies of requests and answers about runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictBool

from api.data.tables import RunKind, RunState
from api.schemas.fields import Answer, ChosenStep, Moment, Request


class RunCreate(Request):
    """What a new run is to do."""

    kind: Literal["provision", "validate", "drift"] = "provision"
    force: StrictBool = False
    steps: list[ChosenStep] = Field(default_factory=list, max_length=50)


class RunOut(Answer):
    """One pass over a server."""

    id: str
    server_id: str
    kind: RunKind
    state: RunState
    force: bool
    steps: list[str]
    attempt: int
    isolation: str
    error_code: str
    message: str
    created_by: str
    batch_id: str | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None


class RunList(Answer):
    """The runs of a server, newest first."""

    runs: list[RunOut]


class PlannedStepOut(Answer):
    """One step of a plan: whether it would run, and why."""

    step: str
    run: bool
    reasons: list[str]


class PlanOut(Answer):
    """What a provisioning run would do, as of the last drift run; nothing is known where `checkedAt` is null."""

    checked_at: Moment | None
    run_id: str | None
    hash: str | None
    steps: list[PlannedStepOut]


class DriftOut(Answer):
    """Which steps are no longer so, as of the last drift run; nothing is known where `checkedAt` is null."""

    checked_at: Moment | None
    run_id: str | None
    drifted: bool | None
    steps: list[PlannedStepOut]
