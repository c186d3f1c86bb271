"""Reading an issuer's set of public keys (RFC 7517): each key goes with one algorithm, whatever a token says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api.security.tokens import MAX_TEXT, TokenRefused, read_object

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_KEYS: Final = 100
# Smaller ones are weak; with larger ones each signature would cost us much.
_RSA_BITS: Final = range(2048, 8193)
_RSA_EXPONENTS: Final = range(3, 2**32)
# The parts of a private key, and of a symmetric one.
_SECRET: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class KeysRefused(Exception):  # noqa: N818 - reads as what happened
    """What an issuer answers is no set of keys. The reason is for our log."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and the one algorithm that it is used with."""

    algorithm: str
    public: RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


def read_keys(document: bytes) -> Mapping[str, Key]:
    """Return the keys of a set that can be used here, by their names; others in it are left out.

    Raises:
        KeysRefused: it is no set of keys, or means two things.

    """
    try:
        listed = read_object(document).get("keys")
    except TokenRefused as refused:
        raise KeysRefused(str(refused)) from None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise KeysRefused(f"it has no list of at most {MAX_KEYS} keys")
    found: dict[str, Key] = {}
    for one in listed:
        name = one.get("kid") if isinstance(one, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= MAX_TEXT:
            continue
        key = _key(one)
        if key is not None and name in found:
            raise KeysRefused("two keys have one name")
        if key is not None:
            found[name] = key
    return found


def _key(one: dict[str, Any]) -> Key | None:
    """Return a key; None where it is for something else, or is none that may be published."""
    if _SECRET & one.keys() or one.get("use", "sig") != "sig":
        return None
    operations = one.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = _public(one)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    return key if key is not None and one.get("alg", key.algorithm) == key.algorithm else None


def _public(one: dict[str, Any]) -> Key | None:
    kind = one.get("kty")
    if kind == "RSA":
        rsa = RSAAlgorithm.from_jwk(one)
        if isinstance(rsa, RSAPublicKey) and rsa.key_size in _RSA_BITS and rsa.public_numbers().e in _RSA_EXPONENTS:
            return Key("RS256", rsa)
    elif kind == "EC":
        curve = ECAlgorithm.from_jwk(one)
        if isinstance(curve, EllipticCurvePublicKey) and isinstance(curve.curve, SECP256R1):
            return Key("ES256", curve)
    elif kind == "OKP":
        edwards = OKPAlgorithm.from_jwk(one)
        if isinstance(edwards, Ed25519PublicKey):
            return Key("EdDSA", edwards)
    return None
