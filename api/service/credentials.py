"""Which credentials a server must have, and how they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.errors import Problem, unavailable
from api.security.seal import KeyMissing, SealBroken
from api.service.mapping import PASSWORD, PRIVATE_KEY, binding

if TYPE_CHECKING:
    from api.data.tables import Server
    from api.security.seal import Seal


def check(method: str, *, key: bool, password: bool, given_key: bool) -> None:
    """Check that there is what a method needs, or raise `invalid`.

    Args:
        method: `key` or `password`.
        key: whether there will be a private key.
        password: whether there will be a password.
        given_key: whether this request brings a key.

    """
    if method == "key" and not key:
        raise _invalid(PRIVATE_KEY, "is required with authMethod key")
    if method == "password" and given_key:
        raise _invalid(PRIVATE_KEY, "must not be given with authMethod password")
    if method == "password" and not password:
        raise _invalid(PASSWORD, "is required with authMethod password")


def _invalid(field: str, rule: str) -> Problem:
    return Problem("invalid", f"/{field}: {rule}.", errors=[(f"/{field}", rule)])


def store(server: Server, seal: Seal, *, key: str | None, password: str | None) -> None:
    """Seal what was given, for the server as it is now."""
    if key is not None:
        server.sealed_private_key = seal.close(key, binding(server, PRIVATE_KEY))
    if password is not None:
        server.sealed_password = seal.close(password, binding(server, PASSWORD))


def rebind_key(server: Server, seal: Seal, host: str, port: int) -> None:
    """Move a server to another address, and take its private key along.

    A false host learns nothing from a key, so it may go there; a password stays bound to where it was.
    """
    key = None
    if server.sealed_private_key is not None:
        try:
            key = seal.open(server.sealed_private_key, binding(server, PRIVATE_KEY))
        except KeyMissing:
            raise unavailable(
                "The stored key cannot be opened on this machine: its ring of keys is not up to date."
            ) from None
        except SealBroken:
            server.sealed_private_key = None
    server.host, server.port = host, port
    store(server, seal, key=key, password=None)
