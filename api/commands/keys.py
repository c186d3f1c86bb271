"""`ocore keys`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from sqlalchemy import or_
from sqlmodel import col, select

import ocore
from api.commands.opening import opened, settings_of
from api.data import migrate
from api.data.database import AWAY, FILE, Database
from api.data.locks import lock_server
from api.data.tables import Server, Webhook
from api.errors import SetupError
from api.parts import ENCRYPTION, RECEIPT, keyring
from api.security.keyring import Ring
from api.security.seal import KeyMissing, Seal, SealBroken
from api.service import audit, receipts, webhooks
from api.service.mapping import AGENT_TOKEN, PASSWORD, PRIVATE_KEY, binding

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from sqlmodel import Session

    from api.parts import Parts
    from api.security.keyring import Keyring
    from api.settings import Settings

_REQUEST_SECONDS = 2.0
_SEALED = {
    PRIVATE_KEY: "sealed_private_key",
    PASSWORD: "sealed_password",
    AGENT_TOKEN: "sealed_agent_token",
}


def create(arguments: Namespace) -> int:
    """Make a ring."""
    ring = keyring(settings_of(arguments), arguments.ring)
    if ring.exists():
        raise SetupError(f"There are {ring.name} keys already, in {ring.where}; `ocore keys rotate` makes a new one.")
    ring.create()
    _note_created(ring, settings_of(arguments))
    sys.stderr.write(f"Made {ring.where}. Keep a copy where the database's copies are not.\n")
    return 0


def rotate(arguments: Namespace) -> int:
    """Make a new active key; seal what is stored with it anew."""
    with opened(arguments) as parts:
        ring = keyring(parts.settings, arguments.ring)
        if arguments.prepare:
            newest = next(reversed(_changed(parts, ring, "prepare", Ring.prepared).keys))
            sys.stderr.write(
                f"The {ring.name} key {newest} is in {ring.where}, and not used yet. Copy the file to every machine, "
                "then rotate without --prepare on one of them, and copy it again.\n"
            )
            return 0
        active = _changed(parts, ring, "rotate", Ring.rotated).active
        sys.stderr.write(f"The active {ring.name} key is now {active}.\n")
        if arguments.ring == ENCRYPTION:
            _seal_anew(parts)
    return 0


def drop(arguments: Namespace) -> int:
    """Remove all keys but the active one, once nothing is sealed with them any more."""
    with opened(arguments) as parts:
        ring = keyring(parts.settings, arguments.ring)
        if arguments.ring == ENCRYPTION:
            _seal_anew(parts)
            # A request that began before may have been sealing with an older key at this moment.
            time.sleep(_REQUEST_SECONDS)
            _seal_anew(parts)
        if arguments.ring == RECEIPT:
            _remember_public(parts, ring)
        _changed(parts, ring, "drop", Ring.without_older)
        sys.stderr.write("The older keys are gone.\n")
    return 0


def _changed(parts: Parts, ring: Keyring, what: str, how: Callable[[Ring], Ring]) -> Ring:
    """Change a ring, and write it down: where that cannot be, the ring stays as it is."""
    with parts.database.write() as session:
        _note(session, what, ring)
        session.flush()
        return ring.change(how)


def _note(session: Session, what: str, ring: Keyring) -> None:
    session.info[audit.ACTOR] = audit.Actor.of_command()
    audit.note(session, f"keys.{what}", audit.Thing("keys", ring.name, ring.name), organization=None)


def _note_created(ring: Keyring, settings: Settings) -> None:
    """Write down that a ring was made, if there is a database already: usually the keys come first."""
    if settings.embedded and not (settings.home / FILE).exists():
        return
    database = Database(settings)
    try:
        if migrate.is_current(database):
            with database.write() as session:
                _note(session, "create", ring)
    except AWAY:
        sys.stderr.write("The database does not answer: this is not in the audit log.\n")
    finally:
        database.close()


def _remember_public(parts: Parts, ring: Keyring) -> None:
    """Keep the public keys of what was signed: also of statements, which are written down nowhere."""
    with parts.database.write() as session:
        for private in ring.ring().keys.values():
            receipts.remember(session, ocore.receipt_public_key(private))


def _seal_anew(parts: Parts) -> None:
    """Seal every stored secret with the active key; each server in a transaction of its own."""
    with parts.database.read() as session:
        has = [col(getattr(Server, column)).is_not(None) for column in _SEALED.values()]
        names = session.exec(select(col(Server.id)).where(or_(*has))).all()
    lost = 0
    for name in names:
        with parts.database.write() as session:
            server = lock_server(session, name)
            if server is not None:
                lost += _again(server, parts.seal)
                session.add(server)
    hooks = _seal_webhooks(parts)
    words = f"; {lost} that were bound to an earlier address are gone" if lost else ""
    sys.stderr.write(f"Sealed the secrets of {len(names)} server(s) and {hooks} webhook(s) anew{words}.\n")


def _seal_webhooks(parts: Parts) -> int:
    """Seal the secrets of webhooks with the active key, each in a transaction of its own; return how many there are."""
    with parts.database.read() as session:
        names = session.exec(select(col(Webhook.id))).all()
    for name in names:
        with parts.database.write() as session:
            hook = session.get(Webhook, name, with_for_update={"key_share": True})
            if hook is None or parts.seal.is_active(hook.sealed_secret):
                continue
            try:
                secret = parts.seal.open(hook.sealed_secret, webhooks.binding(hook))
            except SealBroken as broken:
                raise SetupError(f"The secret of the webhook {name} cannot be opened: {broken}.") from None
            hook.sealed_secret = parts.seal.close(secret, webhooks.binding(hook))
            session.add(hook)
    return len(names)


def _again(server: Server, seal: Seal) -> int:
    """Seal one server's secrets; drop those that do not open any more, and return how many these were."""
    lost = 0
    for field, column in _SEALED.items():
        envelope = getattr(server, column)
        if envelope is None or seal.is_active(envelope):
            continue
        try:
            secret = seal.open(envelope, binding(server, field))
        except KeyMissing as missing:
            raise SetupError(f"A secret of the server {server.id} cannot be opened: {missing}.") from None
        except SealBroken:
            setattr(server, column, None)
            lost += 1
        else:
            setattr(server, column, seal.close(secret, binding(server, field)))
    return lost
