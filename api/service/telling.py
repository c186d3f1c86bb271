"""What agents have told of servers: over a period, and last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import func
from sqlmodel import col, select

from api.data.tables import Sample, now
from api.schemas.agents import InUseOut, LatestOut, MetricsOut, PointOut
from api.service import mapping, standing

if TYPE_CHECKING:
    from api.data.tables import Server
    from api.schemas.agents import Period
    from api.service.scope import Scope
    from api.settings import Settings

# For each period: its length, and the width of its buckets, so that an answer has at most some 340 points.
_PERIODS: Final[dict[Period, tuple[timedelta, int]]] = {
    "1h": (timedelta(hours=1), 60),
    "6h": (timedelta(hours=6), 120),
    "24h": (timedelta(hours=24), 300),
    "7d": (timedelta(days=7), 1800),
}
_MIB: Final = 2**20
_GIB: Final = 2**30


def over(scope: Scope, name: str, period: Period) -> MetricsOut:
    """Return the averages of a period, bucket by bucket."""
    server = scope.server(name)
    length, width = _PERIODS[period]
    # Buckets begin at whole multiples of their width, so that the same moment is in the same one each time.
    bucket = (col(Sample.second) // width).label("bucket")
    since = int((now() - length).timestamp()) // width * width
    query = (
        select(  # type: ignore[call-overload]
            bucket,
            func.avg(Sample.load),
            func.avg(col(Sample.memory_total_bytes) - col(Sample.memory_available_bytes)),
            func.avg(Sample.memory_total_bytes),
            func.avg(col(Sample.disk_total_bytes) - col(Sample.disk_free_bytes)),
            func.avg(Sample.disk_total_bytes),
        )
        .where(col(Sample.server_id) == server.id, col(Sample.second) >= since)
        .group_by(bucket)
        .order_by(bucket)
    )
    points = [
        PointOut(
            at=datetime.fromtimestamp(number * width, UTC),
            load=round(float(load), 2),
            memory_used_bytes=round(used),
            memory_total_bytes=round(memory),
            disk_used_bytes=round(full),
            disk_total_bytes=round(disk),
        )
        for number, load, used, memory, full, disk in scope.session.execute(query).all()
    ]
    return MetricsOut(period=period, seconds=width, points=points)


def latest(scope: Scope, name: str, settings: Settings) -> LatestOut:
    """Return what was told last, and how much of the server's capacity that is."""
    server = scope.server(name)
    query = select(Sample).where(col(Sample.server_id) == server.id).order_by(col(Sample.second).desc()).limit(1)
    found = scope.session.exec(query).first()
    status = standing.status(server, settings)
    if found is None:
        unknown = dict.fromkeys(set(LatestOut.model_fields) - {"agent_status"})
        return LatestOut.model_validate({"agent_status": status} | unknown)
    return LatestOut(
        agent_status=status,
        at=datetime.fromtimestamp(found.second, UTC),
        load=round(found.load, 2),
        memory_used_bytes=found.memory_total_bytes - found.memory_available_bytes,
        memory_total_bytes=found.memory_total_bytes,
        disk_used_bytes=found.disk_total_bytes - found.disk_free_bytes,
        disk_total_bytes=found.disk_total_bytes,
        docker=found.docker,
        uptime_seconds=found.uptime_seconds,
        capacity_in_use_percent=_in_use(server, found, settings),
    )


def _in_use(server: Server, told: Sample, settings: Settings) -> InUseOut:
    """Return what is in use of what the estimate has for instances."""
    has = mapping.capacity(server, settings)
    ram = told.memory_total_bytes - told.memory_available_bytes
    disk = told.disk_total_bytes - told.disk_free_bytes
    return InUseOut(
        cpu=share(told.load, server.cpu_cores, has.cpu_available),
        ram=share(ram / _MIB, server.ram_total_bytes / _MIB, has.ram_available_mb),
        disk=share(disk / _GIB, server.disk_total_bytes / _GIB, has.disk_available_gb),
    )


def share(used: float, whole: float, available: float) -> float | None:
    """Return how much of what is available is in use, in percent: the rest of the whole is what the system is left.

    More may be in use than is available: then the system works with what was left to it.
    """
    if available <= 0:
        return None
    return round(max(0.0, used - (whole - available)) / available * 100, 1)
