"""Private keys of every kind, good and bad, made for tests."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

if TYPE_CHECKING:
    from collections.abc import Callable

PASSPHRASE = "correct horse"
_KINDS: dict[str, Callable[[], Any]] = {
    "dsa": lambda: dsa.generate_private_key(1024),  # noqa: S505 - to be refused
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "rsa1024": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505 - to be refused
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
}


@cache
def private_key(kind: str, form: str = "OpenSSH", passphrase: str | None = None) -> str:
    """Return a private key as text; `form` is OpenSSH, PKCS8 or TraditionalOpenSSL."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    encoded: bytes = _KINDS[kind]().private_bytes(
        serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), encryption
    )
    return encoded.decode()


@cache
def public_key(kind: str = "ed25519") -> str:
    """Return the public half of the OpenSSH key of this kind, as "TYPE BASE64"."""
    key = serialization.load_ssh_private_key(private_key(kind).encode(), None)
    form = serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, form).decode()
