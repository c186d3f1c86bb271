"""Capacity without a server: which machine would be enough."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

import ocore
from api.errors import Problem
from api.schemas.capacity import GainOut, SizeOut
from api.service import mapping
from api.web.dependencies import TheParts, Viewer
from api.web.routes.responses import PROBLEMS

router = APIRouter(prefix="/api/capacity", tags=["capacity"], responses=PROBLEMS)


@router.get("/size", operation_id="getSize")
def get_size(
    parts: TheParts,
    caller: Viewer,  # noqa: ARG001 - who may view servers may ask
    users: Annotated[int, Query(ge=1, le=10_000, description="Concurrent users.")],
    instances: Annotated[int, Query(ge=1, le=10_000, description="Instances.")] = 1,
    profile: Annotated[str | None, Query(description="The size of an instance; the setting's without it.")] = None,
) -> SizeOut:
    """Return the smallest machine that carries so many users and instances."""
    name, settings = mapping.profile(parts.settings, profile), parts.settings.capacity
    try:
        found = ocore.smallest(users, instances=instances, profile=name, settings=settings)
    except ocore.ConfigError as error:
        raise Problem("invalid", f"{error}.", errors=[(f"/{error.field}", error.rule)]) from None
    carries = mapping.capacity_out(ocore.estimate(found.specs, name, settings))
    more = [
        GainOut(of=one.of, instances=one.instances, users=one.users) for one in ocore.gains(found.specs, name, settings)
    ]
    return SizeOut(cores=found.cores, ram_mb=found.ram_mb, disk_gb=found.disk_gb, capacity=carries, gains=more)
