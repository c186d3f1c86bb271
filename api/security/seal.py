"""Secrets at rest: AES-256-GCM, bound to whose secret it is and to where it may be sent.

An envelope is 1 byte of form (1), 1 byte of length and the key's id, 12 bytes of nonce, and the ciphertext with its
tag. What it is bound to is its associated data: an envelope that was moved to another row, or whose server was pointed
to another host, does not open.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from api.security.keyring import Keyring

_FORM: Final = 1
_NONCE: Final = 12


# The bytes of an envelope that say with which key it was sealed: an id is short.
HEAD: Final = 64


class SealBroken(Exception):  # noqa: N818 - reads as what happened
    """A secret does not open: its key is missing, or it is bound to something else."""


class KeyMissing(SealBroken):
    """The key that a secret was sealed with is not in this machine's ring. Nothing is known of the secret itself."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a secret is bound to."""

    organization: str
    server: str
    field: str
    host: str
    port: int

    @property
    def data(self) -> bytes:
        """The associated data."""
        return json.dumps(astuple(self), ensure_ascii=False, separators=(",", ":")).encode()


class Seal:
    """Seals and opens with a ring of keys."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def close(self, secret: str, binding: Binding) -> bytes:
        """Return a secret's envelope."""
        ring = self._keyring.ring()
        name, nonce = ring.active.encode(), os.urandom(_NONCE)
        sealed = AESGCM(ring.keys[ring.active]).encrypt(nonce, secret.encode(), binding.data)
        return bytes([_FORM, len(name)]) + name + nonce + sealed

    def open(self, envelope: bytes, binding: Binding) -> str:
        """Return an envelope's secret, or raise SealBroken."""
        name, rest = _parts(envelope)
        key = self._keyring.ring().keys.get(name)
        if key is None:
            raise KeyMissing(f"there is no key {name!r}")
        try:
            return AESGCM(key).decrypt(rest[:_NONCE], rest[_NONCE:], binding.data).decode()
        except (InvalidTag, ValueError):
            raise SealBroken("it is bound to something else, or was changed") from None

    def fingerprint(self, data: bytes) -> str:
        """Return a digest by which equal requests are known; without a key, a password could be guessed by it."""
        ring = self._keyring.ring()
        return f"{ring.active}:{_digest(ring.keys[ring.active], data)}"

    def is_same(self, fingerprint: str, data: bytes) -> bool | None:
        """Tell whether a fingerprint is that of some data; None where its key is gone, and nobody can tell."""
        name, _, digest = fingerprint.partition(":")
        key = self._keyring.ring().keys.get(name)
        return None if key is None else hmac.compare_digest(digest, _digest(key, data))

    def knows(self, envelope: bytes) -> bool:
        """Tell whether the key of an envelope is there."""
        return _parts(envelope)[0] in self._keyring.ring().keys

    def is_active(self, envelope: bytes) -> bool:
        """Tell whether an envelope was made with the active key."""
        return _parts(envelope)[0] == self._keyring.ring().active


def _digest(key: bytes, data: bytes) -> str:
    return hmac.new(hashlib.sha256(b"fingerprint" + key).digest(), data, hashlib.sha256).hexdigest()


def _parts(envelope: bytes) -> tuple[str, bytes]:
    """Return the id of an envelope's key, and what comes after it."""
    if len(envelope) < 2 + _NONCE or envelope[0] != _FORM:
        raise SealBroken("it is no envelope")
    end = 2 + envelope[1]
    return envelope[2:end].decode("ascii", "replace"), envelope[end:]
