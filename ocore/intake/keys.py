"""Private keys: mended where that is harmless, refused with the reason where they cannot work."""

from __future__ import annotations

import re
import warnings
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from ocore.errors import ConfigError, ErrorCode

MAX_KEY: Final = 16 * 1024
MIN_RSA: Final = 2048
_FIELD: Final = "private_key"
_PUBLIC: Final = re.compile(r"(ssh-|ecdsa-sha2-|sk-)\S+ AAAA|---- BEGIN SSH2 PUBLIC KEY|-----BEGIN (RSA )?PUBLIC KEY")
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")


def _refuse(rule: str) -> ConfigError:
    return ConfigError(_FIELD, rule, ErrorCode.KEY_INVALID)


def _mended(text: str) -> str:
    """Return the text with Unix line ends and one final newline, which OpenSSH insists on."""
    return (
        "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").strip().split("\n")) + "\n"
    )


def _check_form(text: str) -> None:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_KEY:
        raise _refuse(f"is larger than {MAX_KEY // 1024} KiB")
    if "\0" in text or not text.isascii():
        raise _refuse("has characters that no private key has")
    if text.startswith("PuTTY-User-Key-File"):
        raise _refuse("is a PuTTY key; export it in OpenSSH's format (PuTTYgen: Conversions, Export OpenSSH key)")
    if _PUBLIC.match(text):
        raise _refuse("is a public key; the private one is needed (the file without .pub)")
    if not text.startswith("-----BEGIN "):
        raise _refuse("is not a private key in OpenSSH or PEM form")


def _load(text: str, passphrase: str | None) -> object:
    load = (
        serialization.load_ssh_private_key
        if text.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
        else serialization.load_pem_private_key
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a weak key is refused below with words of our own
        try:
            return load(text.encode(), passphrase.encode() if passphrase else None)
        except TypeError:
            if passphrase:  # the key has none
                return _load(text, None)
            raise _refuse("is protected by a passphrase") from None
        except UnsupportedAlgorithm:
            raise _refuse("is of a kind that is not supported; use Ed25519, ECDSA or RSA") from None
        except ValueError as error:
            if passphrase:
                raise _refuse("cannot be opened with this passphrase") from None
            if "password" in str(error).lower() or "passphrase" in str(error).lower():
                raise _refuse("is protected by a passphrase") from None
            raise _refuse("is damaged: it cannot be read as a private key") from None


def _check_kind(key: object) -> None:
    if isinstance(key, dsa.DSAPrivateKey):
        raise _refuse("is a DSA key, which OpenSSH no longer takes; use Ed25519")
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < MIN_RSA:
            raise _refuse(f"is an RSA key of {key.key_size} bits; at least {MIN_RSA} are needed")
        return
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return
    if isinstance(key, ed448.Ed448PrivateKey) or not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _refuse("is of a kind that OpenSSH does not take; use Ed25519, ECDSA or RSA")


def is_encrypted(text: str) -> bool:
    """Tell whether a key is protected by a passphrase; other faults are left to `normalise`."""
    try:
        normalise(text)
    except ConfigError as error:
        return error.rule == "is protected by a passphrase"
    return False


def normalise(text: object, passphrase: str | None = None) -> str:
    """Return a private key in OpenSSH's form, without passphrase, ready for ssh-add.

    Raises:
        ConfigError: with code `key_invalid`, and in `rule` what is wrong with it. Its text holds nothing of the key.

    """
    if not isinstance(text, str) or not text.strip():
        raise _refuse("is empty")
    mended = _mended(text)
    _check_form(mended)
    key = _load(mended, passphrase)
    _check_kind(key)
    assert isinstance(key, ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)  # noqa: S101 - for the type checker
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()
