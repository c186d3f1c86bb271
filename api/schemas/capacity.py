"""Answers about capacity."""

from __future__ import annotations

from pydantic import Field

from api.schemas.fields import Answer, Number


class CapacityOut(Answer):
    """What a server can carry, and why."""

    cpu_available: float
    ram_available_mb: Number = Field(alias="ramAvailableMB")
    disk_available_gb: Number = Field(alias="diskAvailableGB")
    max_instances: int
    max_concurrent_users: int
    reasoning: str


class GainOut(Answer):
    """What one more of something would give."""

    of: str
    instances: int
    users: int


class SizeOut(Answer):
    """The smallest machine that is enough, what it carries, and what a little more of it would give."""

    cores: int
    ram_mb: int = Field(alias="ramMB")
    disk_gb: int = Field(alias="diskGB")
    capacity: CapacityOut
    gains: list[GainOut]
