"""What agents tell, and what is answered of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictInt
from pydantic.alias_generators import to_camel

from api.data.tables import AgentStatus
from api.schemas.fields import Answer, Moment, Request

Bytes = Annotated[StrictInt, Field(ge=0, le=2**60)]
Period = Literal["1h", "6h", "24h", "7d"]
Docker = Literal["running", "stopped", "absent"]


class Heartbeat(Request):
    """How a server is doing, as its agent tells it. A newer agent may tell more; that is passed over."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", hide_input_in_errors=True)

    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,32}$")]
    load: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
    memory_total_bytes: Bytes
    memory_available_bytes: Bytes
    disk_total_bytes: Bytes
    disk_free_bytes: Bytes
    docker: Docker
    uptime_seconds: Annotated[StrictInt, Field(ge=0, le=2**40)]


class PointOut(Answer):
    """The averages of one stretch of time, which begins at `at`."""

    at: Moment
    load: float
    memory_used_bytes: int
    memory_total_bytes: int
    disk_used_bytes: int
    disk_total_bytes: int


class MetricsOut(Answer):
    """What an agent told in a period, oldest first; a stretch of time in which it told nothing has no point."""

    period: Period
    seconds: int
    points: list[PointOut]


class InUseOut(Answer):
    """How much of what the estimate has for instances is in use, in percent; null where it has nothing."""

    cpu: float | None
    ram: float | None
    disk: float | None


class LatestOut(Answer):
    """What an agent told last; nothing is known where `at` is null."""

    agent_status: AgentStatus
    at: Moment | None
    load: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    disk_used_bytes: int | None
    disk_total_bytes: int | None
    docker: Docker | None
    uptime_seconds: int | None
    capacity_in_use_percent: InUseOut | None
