"""Our own tokens: JWTs with a fixed algorithm (EdDSA with Ed25519), required claims and limits.

What a token's header says of algorithms and keys is believed of nothing but the key's id, which is looked up in the
ring. See RFC 8725 (best current practices for JWTs).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.security.keyring import Keyring
    from api.settings import Settings

ALGORITHM: Final = "EdDSA"
VIEW: Final = "view:servers"
MANAGE: Final = "manage:servers"
PERMISSIONS: Final = (VIEW, MANAGE)
MAX_TOKEN: Final = 8 * 1024
LEEWAY: Final = 30
DAY: Final = 86400
_REQUIRED: Final = ["iss", "aud", "exp", "iat", "sub", "jti", "org"]
MAX_TEXT: Final = 200
# Header, claims and signature.
_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class TokenRefused(Exception):  # noqa: N818 - reads as what happened
    """A token is not taken. The reason is for our log; who sent it learns nothing."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request."""

    organization: str
    subject: str
    permissions: frozenset[str]
    token: str = ""
    issuer: str = ""  # of a token of another issuer, whose organization is not looked up yet

    def may(self, permission: str) -> bool:
        """Tell whether the caller has a permission; to manage implies to view."""
        return permission in self.permissions or (permission == VIEW and MANAGE in self.permissions)


class Tokens:
    """Issues and reads tokens."""

    def __init__(self, keyring: Keyring, settings: Settings) -> None:
        self._keyring = keyring
        self._issuer, self._audience = settings.token_issuer, settings.token_audience
        self._longest = settings.token_max_days * DAY

    def issue(self, organization: str, subject: str, permissions: Sequence[str], seconds: int) -> tuple[str, str]:
        """Return a new token, and its id."""
        ring = self._keyring.ring()
        made, name = int(time.time()), new_id()
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "org": organization,
            "permissions": list(permissions),
            "iat": made,
            "exp": made + seconds,
            "jti": name,
        }
        key = Ed25519PrivateKey.from_private_bytes(ring.keys[ring.active])
        return jwt.encode(claims, key, ALGORITHM, headers={"kid": ring.active}), name

    def read(self, token: str) -> tuple[Caller, int]:
        """Return who a token stands for, and when it ends (seconds since the epoch).

        Raises:
            TokenRefused: it is not one of ours, or not any more.

        """
        key = self._key_of(token)
        try:
            claims = jwt.decode(
                token,
                key.public_key(),
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": _REQUIRED},
            )
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise TokenRefused(str(error)[:MAX_TEXT]) from None
        return self._caller(claims)

    def _key_of(self, token: str) -> Ed25519PrivateKey:
        header, _ = unverified(token)
        if header.get("alg") != ALGORITHM or header.get("typ", "JWT") != "JWT" or "crit" in header:
            raise TokenRefused("its algorithm or its type is another one")
        key = self._keyring.ring().keys.get(header["kid"]) if isinstance(header.get("kid"), str) else None
        if key is None:
            raise TokenRefused("its key is not known")
        return Ed25519PrivateKey.from_private_bytes(key)

    def _caller(self, claims: dict[str, Any]) -> tuple[Caller, int]:
        texts = [claims[name] for name in ("org", "sub", "jti")]
        if not all(isinstance(one, str) and 0 < len(one) <= MAX_TEXT and one.isprintable() for one in texts):
            raise TokenRefused("org, sub or jti is no proper text")
        granted = claims.get("permissions", [])
        if not isinstance(granted, list) or not all(isinstance(one, str) for one in granted):
            raise TokenRefused("permissions is no list of texts")
        check_beginning(claims)
        times = [claims["iat"], claims["exp"]]
        if not all(isinstance(one, int) for one in times) or claims["exp"] - claims["iat"] > self._longest:
            raise TokenRefused("it would live too long")
        known = frozenset(granted) & frozenset(PERMISSIONS)
        return Caller(claims["org"], claims["sub"], known, claims["jti"]), claims["exp"]


def check_beginning(claims: dict[str, Any]) -> None:
    """Raise TokenRefused where the time before which a token does not count is none; PyJWT reads numbers in texts."""
    if type(claims.get("nbf", 0)) not in {int, float}:
        raise TokenRefused("nbf is no number")


def unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a token says in its header and its claims, which nobody has signed yet, or raise TokenRefused."""
    # Python passes over what is no base64, so that a token could be written in many ways.
    if len(token) > MAX_TOKEN or not _FORM.fullmatch(token):
        raise TokenRefused("it is too large, or has not three parts in base64")
    header, claims, _ = token.split(".")
    return _object(header), _object(claims)


def _object(part: str) -> dict[str, Any]:
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (ValueError, binascii.Error) as error:
        raise TokenRefused(str(error)[:MAX_TEXT]) from None
    return read_object(data)


def read_object(text: bytes) -> dict[str, Any]:
    """Return a JSON object, or raise TokenRefused; one that names something twice means two things."""
    try:
        data = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise TokenRefused(str(error)[:MAX_TEXT]) from None
    if not isinstance(data, dict):
        raise TokenRefused("it, or a part of it, is no object")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found
