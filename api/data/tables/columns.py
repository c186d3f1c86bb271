"""Columns of the kinds that several tables have."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, ForeignKey, Text
from sqlalchemy.types import TypeDecorator
from sqlmodel import Column, Field


class UtcDateTime(TypeDecorator[datetime]):
    """A moment with its time zone, which SQLite does not keep: it is UTC there."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Refuse a moment without a zone, which would be taken for another one."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Return the moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """Return a moment as everything that we write has it: RFC 3339, in UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(*, nullable: bool = True, index: bool = False) -> Any:
    """Declare: a moment, which may be unknown."""
    return Field(default=None, sa_column=Column(UtcDateTime(), nullable=nullable, index=index))


def made(*, index: bool = False) -> Any:
    """Declare: the moment at which the row was made."""
    return Field(default_factory=now, sa_column=Column(UtcDateTime(), nullable=False, index=index))


def long_text(default: str = "") -> Any:
    """Declare: a text of any length."""
    return Field(default=default, sa_column=Column(Text(), nullable=False))


def belongs_to(table: str, *, primary: bool = False, index: bool = False) -> Any:
    """Declare a column that goes with a row of another table."""
    key = ForeignKey(f"{table}.id", ondelete="CASCADE")
    return Field(sa_column=Column(Text(), key, nullable=False, primary_key=primary, index=index))
