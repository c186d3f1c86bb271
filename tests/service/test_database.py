"""The database's form: what migrations make is what the tables declare; and the page of settings is up to date."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import bindparam, inspect, text
from sqlmodel import SQLModel

from api.commands import reference
from api.data import migrate
from api.data.database import Database
from api.data.tables import UtcDateTime

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
        newest = ScriptDirectory.from_config(config).get_current_head()
        is_back = where == "base" or MigrationContext.configure(connection).get_current_revision() == newest
        (command.downgrade if is_back else command.upgrade)(config, where)
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


def test_what_is_there_outlives_a_new_form(database: Database) -> None:
    """Rows of the first form, and what refers to them, are there after the way to the newest form and back."""
    go(database, "0001")
    moment = datetime.now(UTC)
    server = {
        "id": "s", "organization_id": "o", "name": "n", "host": "h", "port": 22, "ssh_user": "root",
        "auth_method": "key", "max_ssh_sessions": 5, "description": "", "proxy_type": "none", "status": "active",
        "status_message": "", "status_code": "", "provisioning_step": "", "generation": 1, "touched": True,
        "provisioned": True, "host_key_epoch": 0, "cpu_cores": 1, "ram_total_bytes": 1, "disk_total_bytes": 1,
        "disk_free_bytes": 1, "own_disk_bytes": 1, "agent_status": "not_installed",
        "misses": 0, "created_at": moment, "updated_at": moment,
    }  # fmt: skip
    run = {
        "id": "r", "server_id": "s", "organization_id": "o", "kind": "provision", "state": "succeeded", "generation": 1,
        "force": False, "steps": "[]", "created_by": "", "attempt": 1, "fence": 1, "lease_owner": "",
        "cancel_reason": "", "error_code": "", "message": "", "isolation": "", "created_at": moment,
    }  # fmt: skip
    organization = {"id": "o", "name": "o", "created_at": moment}
    with database.engine.begin() as connection:
        for table, row in (("organization", organization), ("server", server), ("run", run)):
            columns, values = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
            kinds = [bindparam(name, type_=UtcDateTime()) for name in row if name.endswith("_at")]
            statement = text(f'INSERT INTO "{table}" ({columns}) VALUES ({values})')  # noqa: S608 - our own names
            connection.execute(statement.bindparams(*kinds), row)
    for where in ("head", "0001"):
        go(database, where)
        with database.engine.connect() as connection:
            found = [list(connection.execute(text(f'SELECT id FROM "{name}"')).scalars()) for name in ("server", "run")]  # noqa: S608
        assert found == [["s"], ["r"]], where


def test_the_page_of_settings_is_made_from_the_code() -> None:
    """`ocore settings --markdown > docs/settings.md` makes it anew."""
    assert PAGE.read_text(encoding="utf-8") == reference.markdown()
