"""The parts of one process of the service, put together from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alembic.util.exc import CommandError
from sqlalchemy import func
from sqlmodel import select

from api.data import migrate
from api.data.database import AWAY, Database
from api.data.tables import Server
from api.errors import SetupError
from api.security.keyring import Keyring
from api.security.seal import HEAD, Seal
from api.security.tokens import Tokens
from api.work.bell import Bell

if TYPE_CHECKING:
    from api.settings import Settings

ENCRYPTION = "encryption"
TOKEN = "token"  # noqa: S105 - the name of a ring


@dataclass(frozen=True)
class Parts:
    """What the API, the worker and the commands share."""

    settings: Settings
    database: Database
    seal: Seal
    tokens: Tokens
    bell: Bell

    @classmethod
    def open(cls, settings: Settings) -> Parts:
        """Open the database, bring it to the newest form, and check that there are the keys that it needs.

        Raises:
            SetupError: something is missing or wrong; the message says what to do.

        """
        database = Database(settings)
        try:
            return cls._of(settings, database)
        except AWAY as error:
            database.close()
            raise SetupError(f"The database does not answer: {error.__cause__ or error}".strip()) from None
        except CommandError as error:
            database.close()
            raise SetupError(f"The database has a form that this version does not know: {error}.") from None
        except BaseException:
            database.close()
            raise

    @classmethod
    def _of(cls, settings: Settings, database: Database) -> Parts:
        migrate.migrate(database, settings)
        encryption, token = keyring(settings, ENCRYPTION), keyring(settings, TOKEN)
        if settings.embedded and not _any_server(database):
            for ring in (encryption, token):
                if not ring.exists():
                    ring.create()
        token.ring()
        seal = Seal(encryption)
        _check_key(database, seal, encryption)
        return cls(settings, database, seal, Tokens(token, settings), Bell(settings))

    def close(self) -> None:
        """Close what was opened."""
        self.bell.close()
        self.database.close()


def keyring(settings: Settings, name: str) -> Keyring:
    """Return one of the two rings."""
    given = settings.encryption_keys if name == ENCRYPTION else settings.token_keys
    return Keyring(name, settings.home / f"{name}-keys.json", given)


def _any_server(database: Database) -> bool:
    with database.read() as session:
        return session.exec(select(Server.id).limit(1)).first() is not None


def _check_key(database: Database, seal: Seal, ring: Keyring) -> None:
    """Refuse to start without the keys that the stored secrets need: each would fail, one by one, when it is used."""
    ring.ring()
    with database.read() as session:
        sealed = (Server.sealed_private_key, Server.sealed_password, Server.sealed_agent_token)
        heads = [func.substr(column, 1, HEAD) for column in sealed]
        rows = session.execute(select(*heads)).all()
    unknown = sum(not seal.knows(envelope) for row in rows for envelope in row if envelope is not None)
    if unknown:
        raise SetupError(
            f"{unknown} stored secret(s) were sealed with an encryption key that is not in {ring.where}. Put that key "
            "back; without it they cannot be opened."
        )
