"""The table of what agents have told."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column
from sqlmodel import Field, SQLModel

from api.data.tables.columns import belongs_to


def _bytes() -> int:
    """Declare: a size."""
    size: int = Field(sa_column=Column(BigInteger(), nullable=False))
    return size


class Sample(SQLModel, table=True):
    """One heartbeat: how a server was doing."""

    __tablename__ = "sample"

    server_id: str = belongs_to("server", primary=True)
    # Seconds since 1970, so that every database can put them into buckets by arithmetic.
    second: int = Field(sa_column=Column(BigInteger(), primary_key=True, autoincrement=False, index=True))
    load: float
    memory_total_bytes: int = _bytes()
    memory_available_bytes: int = _bytes()
    disk_total_bytes: int = _bytes()
    disk_free_bytes: int = _bytes()
    docker: str
    uptime_seconds: int = _bytes()
