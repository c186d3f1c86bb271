"""Bringing the database to the newest form, once, however many processes start together."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.data.database import Database
    from api.settings import Settings

SCRIPTS = Path(__file__).parent / "migrations"
# Any number that no other program uses for its advisory locks in this database.
_LOCK = 0x6F636F7265


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    return config


def migrate(database: Database, settings: Settings) -> None:
    """Bring the database to the newest form; who comes second waits, and finds nothing to do."""
    with _alone(database, settings):
        config = _config()
        with database.engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()


def is_current(database: Database) -> bool:
    """Tell whether the database has the newest form."""
    with database.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    return found == _newest()


@cache
def _newest() -> str | None:
    """Return the newest form. Anybody may ask whether the service is ready, and this reads every script."""
    return ScriptDirectory.from_config(_config()).get_current_head()


@contextmanager
def _alone(database: Database, settings: Settings) -> Iterator[None]:
    if database.is_sqlite:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (settings.home / "migrating.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Who comes second waits for as long as it takes.
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
            connection.execute(text("RESET lock_timeout"))
