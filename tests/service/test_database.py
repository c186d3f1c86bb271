"""The database's form: what migrations make is what the tables declare; and the page of settings is up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect
from sqlmodel import SQLModel

from api.commands import reference
from api.data import migrate
from api.data.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.settings import Settings

PAGE = Path(__file__).parent.parent.parent / "docs" / "settings.md"


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """Return an empty database."""
    found = Database(settings)
    yield found
    found.close()


def differences(database: Database) -> list[Any]:
    """Return what the database has otherwise than the tables declare it."""
    with database.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), SQLModel.metadata))


def go(database: Database, where: str) -> None:
    """Bring the database to another form."""
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if where == "base" else command.upgrade)(config, where)
        connection.commit()


def test_migrations_make_what_the_tables_declare(database: Database, settings: Settings) -> None:
    """Every column, index and constraint, with its type; and a second time there is nothing to do."""
    for _ in range(2):
        migrate.migrate(database, settings)
        assert differences(database) == []
        assert migrate.is_current(database)


def test_the_partial_indexes_are_partial(database: Database, settings: Settings) -> None:
    """One run of a server waits and one goes on: a comparison of names would not see that the condition is lost."""
    migrate.migrate(database, settings)
    for one in (one for one in inspect(database.engine).get_indexes("run") if one["unique"]):
        state = str(one["name"]).removeprefix("run_")
        [condition] = [str(value) for name, value in one["dialect_options"].items() if name.endswith("_where")]
        assert f"'{state}'" in condition


def test_migrations_go_back_and_forth(database: Database, settings: Settings) -> None:
    """Back to nothing, and to the newest form again."""
    migrate.migrate(database, settings)
    go(database, "base")
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    assert not migrate.is_current(database)
    go(database, "head")
    assert differences(database) == []
    assert migrate.is_current(database)


def test_the_page_of_settings_is_made_from_the_code() -> None:
    """`ocore settings --markdown > docs/settings.md` makes it anew."""
    assert PAGE.read_text(encoding="utf-8") == reference.markdown()
