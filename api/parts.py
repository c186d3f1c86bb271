"""The parts of one process of the service, put together from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alembic.util.exc import CommandError
from sqlalchemy import func
from sqlmodel import select

from api.data import migrate
from api.data.database import AWAY, Database
from api.data.tables import ReceiptKey, Server, Webhook
from api.errors import SetupError
from api.security.keyring import Keyring
from api.security.seal import HEAD, Seal
from api.security.signer import Signer
from api.security.tokens import Tokens
from api.service import changes
from api.work.bell import Bell

if TYPE_CHECKING:
    from api.settings import Settings

ENCRYPTION = "encryption"
TOKEN = "token"  # noqa: S105 - the name of a ring
RECEIPT = "receipt"
RINGS = (ENCRYPTION, TOKEN, RECEIPT)


@dataclass(frozen=True)
class Parts:
    """What the API, the worker and the commands share."""

    settings: Settings
    database: Database
    seal: Seal
    tokens: Tokens
    signer: Signer
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
        encryption, token, receipt = (keyring(settings, name) for name in RINGS)
        if settings.embedded:
            _create_missing(database, (encryption, token), receipt)
        token.ring()
        signer = Signer(receipt)
        seal = Seal(encryption)
        _check_key(database, seal, encryption)
        database.watch(changes.watch)
        return cls(settings, database, seal, Tokens(token, settings), signer, Bell(settings))

    def close(self) -> None:
        """Close what was opened."""
        self.bell.close()
        self.database.close()


def keyring(settings: Settings, name: str) -> Keyring:
    """Return one of the rings."""
    return Keyring(name, settings.home / f"{name}-keys.json", getattr(settings, setting_of(name)))


def setting_of(ring: str) -> str:
    """Return the name of the setting that a ring may be given as."""
    return f"{ring}_keys"


def _create_missing(database: Database, secrets: tuple[Keyring, ...], receipt: Keyring) -> None:
    """Make the rings of an embedded service that nothing was made with yet: one that is lost is not replaced."""
    with database.read() as session:
        any_server = session.exec(select(Server.id).limit(1)).first() is not None
        any_receipt = session.exec(select(ReceiptKey.key).limit(1)).first() is not None
    missing = [] if any_server else [ring for ring in secrets if not ring.exists()]
    missing += [receipt] if not any_receipt and not receipt.exists() else []
    for ring in missing:
        ring.create()


def _check_key(database: Database, seal: Seal, ring: Keyring) -> None:
    """Refuse to start without the keys that the stored secrets need: each would fail, one by one, when it is used."""
    ring.ring()
    with database.read() as session:
        sealed = (Server.sealed_private_key, Server.sealed_password, Server.sealed_agent_token)
        heads = [func.substr(column, 1, HEAD) for column in sealed]
        rows = [*session.execute(select(*heads)).all()]
        rows += session.execute(select(func.substr(Webhook.sealed_secret, 1, HEAD))).all()
    unknown = sum(not seal.knows(envelope) for row in rows for envelope in row if envelope is not None)
    if unknown:
        raise SetupError(
            f"{unknown} stored secret(s) were sealed with an encryption key that is not in {ring.where}. Put that key "
            "back; without it they cannot be opened."
        )
