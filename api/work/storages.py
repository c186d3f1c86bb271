"""Where Huey keeps the rings: a SQLite file, Redis, or tables in PostgreSQL. Each works on after it lost everything."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from huey.storage import PostgresStorage, RedisStorage, SqliteStorage
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry

from api.data.database import make_private
from api.errors import SetupError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from api.settings import Settings

FILE: Final = "queue.db"
PREFIX: Final = "ocore_queue"
_POSTGRES: Final = ("postgresql://", "postgres://")
_REDIS: Final = ("redis://", "rediss://", "unix://")
# A queue that is away must not hold up who rings: the sweeper rings again. Seconds, and once milliseconds.
_PATIENCE: Final = {
    "connect_timeout": 2,
    "tcp_user_timeout": 5_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "options": "-c lock_timeout=5s",
}
# Who rings just after somebody could not connect is told so at once, and does not wait in a row with others.
_AWAY_SECONDS: Final = 2.0
# Any number that no other program uses for its advisory locks in this database.
_LOCK: Final = 0x6F636F7266


def storage(settings: Settings) -> dict[str, Any]:
    """Return what tells Huey where its queue is; nothing is connected yet."""
    url = settings.queue_url
    if not url:
        return {"storage_class": _File, "filename": str(settings.home / FILE)}
    if url.startswith(_POSTGRES):
        return {"storage_class": Tables, "dsn": url}
    if not url.startswith(_REDIS):
        raise SetupError("queue_url must begin with redis://, rediss://, unix:// or postgresql://.")
    pool = ConnectionPool.from_url(url, socket_connect_timeout=2, socket_timeout=5, retry=Retry(NoBackoff(), 1))
    return {"storage_class": RedisStorage, "connection_pool": pool}


class _File(SqliteStorage):  # type: ignore[misc]
    """Huey's SQLite storage, which also works on after its file was taken away."""

    _conn: sqlite3.Connection | None
    _seen: tuple[int, int] | None = None

    @property
    def conn(self) -> sqlite3.Connection:
        """The connection; a new one, to a new file, where the old file is gone."""
        if self._conn is not None and not self._is_there():
            self._conn.close()
            self._conn = None
        if self._conn is None:
            make_private(Path(self.filename))
            self._conn = self._create_connection()
            for statement in self.ddl:
                self._conn.execute(statement)
            self._seen = _identity(self.filename)
        return self._conn

    def _is_there(self) -> bool:
        return self._seen in {None, _identity(self.filename)}


def _identity(file: str) -> tuple[int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


class Tables(PostgresStorage):  # type: ignore[misc]
    """Huey's PostgreSQL storage: a table from which each worker takes another row, and NOTIFY that wakes them.

    Ours connects when it is used and not when it is made, and makes its tables with every new connection: so a
    database that is away keeps nobody from starting, and one that was emptied is used again.
    """

    _conn: psycopg.Connection[Any] | None

    def __init__(self, name: str, *, dsn: str) -> None:
        self._closed = False
        self._away_until = 0.0
        super().__init__(name, dsn=dsn, table_prefix=PREFIX, create_tables=False, **_PATIENCE)

    def _connect(self) -> psycopg.Connection[Any]:
        if self._closed:
            raise psycopg.OperationalError("the queue was closed")
        if time.monotonic() < self._away_until:
            raise psycopg.OperationalError("the queue did not answer a moment ago")
        try:
            made: psycopg.Connection[Any] = super()._connect()
        except psycopg.OperationalError:
            self._away_until = time.monotonic() + _AWAY_SECONDS
            raise
        return made

    def _create_connection(self) -> psycopg.Connection[Any]:
        """Return the connection of all that is not waiting, with the tables there."""
        made = self._connect()
        try:
            # "If not exists" is no help to two who make a table at the same time.
            with made.transaction():
                made.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                for statement in self.ddl:
                    made.execute(statement)
        except BaseException:
            made.close()
            raise
        return made

    @contextmanager
    def db(self, commit: bool = False, close: bool = False) -> Iterator[psycopg.Cursor[Any]]:  # noqa: FBT001, FBT002 - Huey's
        """Give a cursor; where the tables are gone, the next one makes them anew."""
        try:
            with super().db(commit=commit, close=close) as cursor:
                yield cursor
        except psycopg.errors.UndefinedTable:
            self._forget()
            raise

    def _forget(self) -> None:
        with self.lock:
            if self._conn is not None:
                self._close_quiet(self._conn)
                self._conn = None

    def leave(self) -> None:
        """Close the connection by which this thread was waiting."""
        waiting = getattr(self._listen_local, "conn", None)
        if waiting is not None:
            self._close_quiet(waiting)
            self._listen_local.conn = None

    def close(self) -> bool:
        """Close all that is open here; a worker that is still ending opens nothing any more."""
        self._closed = True
        closed: bool = super().close()
        return closed
