"""The database: SQLite or PostgreSQL, with short transactions that say beforehand whether they write."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlmodel import Session

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from api.settings import Settings

    Watcher = Callable[[Session, Any, Any], None]

FILE = "ocore.db"
_WRITES = "ocore_writes"
# What a statement fails with is logged, and its values may be anything.
_QUIET: dict[str, Any] = {"hide_parameters": True}
# What says that the database cannot be used for now, and not that something is wrong with a statement: it does not
# answer, is locked for too long, is the read-only one of a pair (internal error), or all connections are taken.
AWAY = (OperationalError, InternalError, NoConnectionFree)
# The most seconds that anybody waits for a lock, for a connection of ours, or for a database that fell silent (a cut
# cable, a stopped machine). Transactions are short: who holds one for longer is stopped, or away.
_PATIENCE = 8.0


def patience(settings: Settings) -> float:
    """Return how long anybody waits for the database, in seconds.

    A run whose lease cannot be extended is stopped at two thirds of it, by a thread that may be waiting here: it must
    come back while the lease still holds.
    """
    return min(_PATIENCE, settings.lease_seconds / 4)


def _connecting(seconds: float) -> dict[str, Any]:
    """Return what PostgreSQL's client is told of our patience."""
    milliseconds = round(seconds * 1000)
    return {
        "connect_timeout": max(2, min(5, round(seconds))),
        "tcp_user_timeout": milliseconds,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "options": f"-c lock_timeout={milliseconds} -c idle_in_transaction_session_timeout=15s",
    }


def url_of(settings: Settings) -> URL:
    """Return where the data is, with the driver that we use."""
    if settings.embedded:
        return URL.create("sqlite", database=str(settings.home / FILE))
    url = make_url(settings.database_url)
    return url.set(drivername="postgresql+psycopg") if url.drivername in {"postgresql", "postgres"} else url


class Database:
    """Transactions over one database."""

    def __init__(self, settings: Settings) -> None:
        url = url_of(settings)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        seconds = patience(settings)
        options: dict[str, Any] = _QUIET | {"pool_size": 10, "max_overflow": 30, "pool_timeout": seconds}
        if self.is_sqlite:
            self.engine = create_engine(url, **options, connect_args={"timeout": seconds, "check_same_thread": False})
            if url.database:
                make_private(settings.home / url.database)
            event.listen(self.engine, "connect", _prepare)
            event.listen(self.engine, "begin", _begin)
        else:
            # A connection that broke while it waited is noticed, and replaced.
            self.engine = create_engine(url, **options, pool_pre_ping=True, connect_args=_connecting(seconds))
        self._writing = self.engine.execution_options(**{_WRITES: True})
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        """Have a function look at what each transaction is about to write; it may add to it."""
        self._watchers.append(watcher)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session that sees one state of the data."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session whose changes are kept when the block ends well, all of them or none."""
        with Session(self._writing, expire_on_commit=False) as session:
            for watcher in self._watchers:
                event.listen(session, "before_flush", watcher)
            with session.begin():
                yield session

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


def clock(session: Session) -> datetime:
    """Return the database's time, by which leases are kept: the workers' clocks may differ."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)


def make_private(file: Path) -> None:
    """Make a file that only we can read, in a folder of ours, or leave what is there."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver would begin transactions by itself, and later than we want.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    # Safe against a killed process; what a power cut may undo was never half written.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    # What is deleted is overwritten in the file, sealed secrets too; not every build of SQLite does so by itself.
    connection.execute("PRAGMA secure_delete=ON")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes then is not allowed to wait for the lock: it fails at once.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
