"""`ocore keys`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from sqlalchemy import or_
from sqlmodel import col, select

from api.commands.opening import opened, settings_of
from api.data.locks import lock_server
from api.data.tables import Server
from api.errors import SetupError
from api.parts import ENCRYPTION, keyring
from api.security.keyring import Ring
from api.security.seal import KeyMissing, Seal, SealBroken
from api.service.mapping import AGENT_TOKEN, PASSWORD, PRIVATE_KEY, binding

if TYPE_CHECKING:
    from argparse import Namespace

    from api.parts import Parts

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
    sys.stderr.write(f"Made {ring.where}. Keep a copy where the database's copies are not.\n")
    return 0


def rotate(arguments: Namespace) -> int:
    """Make a new active key; seal what is stored with it anew."""
    with opened(arguments) as parts:
        ring = keyring(parts.settings, arguments.ring)
        if arguments.prepare:
            newest = next(reversed(ring.change(Ring.prepared).keys))
            sys.stderr.write(
                f"The {ring.name} key {newest} is in {ring.where}, and not used yet. Copy the file to every machine, "
                "then rotate without --prepare on one of them, and copy it again.\n"
            )
            return 0
        active = ring.change(Ring.rotated).active
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
        ring.change(Ring.without_older)
        sys.stderr.write("The older keys are gone.\n")
    return 0


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
    words = f"; {lost} that were bound to an earlier address are gone" if lost else ""
    sys.stderr.write(f"Sealed the secrets of {len(names)} server(s) anew{words}.\n")


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
