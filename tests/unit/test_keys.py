"""Private keys: mended where that is harmless, refused in words that help."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocore.errors import ConfigError, ErrorCode
from ocore.intake import keys
from tests.unit.keymaker import PASSPHRASE, private_key, public_key

PUTTY = "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: x\n"
RFC4716 = "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----\n"
CUT = private_key("ed25519")[:200]

REFUSALS = [
    ("", "is empty"),
    (" \n ", "is empty"),
    (None, "is empty"),
    (7, "is empty"),
    ("hunter2", "is not a private key"),
    (public_key(), "is a public key"),
    (public_key("rsa"), "is a public key"),
    (RFC4716, "is a public key"),
    ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is a public key"),
    (PUTTY, "is a PuTTY key"),
    (private_key("dsa", "TraditionalOpenSSL"), "is a DSA key"),
    (private_key("rsa1024"), "1024 bits; at least 2048"),
    (private_key("rsa1024", "TraditionalOpenSSL"), "1024 bits; at least 2048"),
    (private_key("ed448", "PKCS8"), "of a kind that OpenSSH does not take"),
    (private_key("secp256k1", "PKCS8"), "of a kind that OpenSSH does not take"),
    (private_key("ed25519", "OpenSSH", PASSPHRASE), "is protected by a passphrase"),
    (private_key("rsa", "TraditionalOpenSSL", PASSPHRASE), "is protected by a passphrase"),
    (private_key("ecdsa", "PKCS8", PASSPHRASE), "is protected by a passphrase"),
    (CUT, "is damaged"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\n####\n-----END OPENSSH PRIVATE KEY-----\n", "is damaged"),
    (private_key("ed25519").replace("b3Bl", "c3Bl"), "is damaged"),
    (private_key("ed25519") + "x" * keys.MAX_KEY, "is larger than 16 KiB"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\0", "characters that no private key has"),
    ("\ufeff" + private_key("ed25519"), "characters that no private key has"),
]


@pytest.mark.parametrize(("text", "words"), REFUSALS)
def test_a_key_that_cannot_work_is_refused_in_its_own_words(text: object, words: str) -> None:
    """Each refusal says what is wrong with this key, and has the code key_invalid."""
    with pytest.raises(ConfigError) as caught:
        keys.normalise(text)
    assert words in caught.value.rule
    assert caught.value.code is ErrorCode.KEY_INVALID


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("form", ["OpenSSH", "PKCS8"])
def test_a_good_key_comes_out_in_openssh_form(kind: str, form: str) -> None:
    """Keys in each form come out in OpenSSH's, and normalising that changes nothing that matters."""
    normal = keys.normalise(private_key(kind, form))
    assert normal.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert normal.endswith("-----END OPENSSH PRIVATE KEY-----\n")
    assert keys.normalise(normal)


@pytest.mark.parametrize(
    "broken",
    [
        private_key("ed25519").replace("\n", "\r\n"),
        private_key("ed25519").replace("\n", "\r"),
        private_key("ed25519").strip(),
        "\n  " + private_key("ed25519") + "\n\n",
        private_key("ed25519").replace("\n", "  \n"),
    ],
    ids=["CRLF", "CR", "no final newline", "blank lines around", "blanks at line ends"],
)
def test_harmless_damage_is_mended(broken: str) -> None:
    """What editors and web forms do to a key is undone."""
    assert "\r" not in keys.normalise(broken)


def test_a_passphrase_opens_a_protected_key() -> None:
    """With its passphrase, a protected key comes out unprotected."""
    for protected in (
        private_key("ed25519", "OpenSSH", PASSPHRASE),
        private_key("rsa", "TraditionalOpenSSL", PASSPHRASE),
        private_key("ecdsa", "PKCS8", PASSPHRASE),
    ):
        assert keys.is_encrypted(protected)
        assert not keys.is_encrypted(keys.normalise(protected, PASSPHRASE))


def test_a_wrong_passphrase_is_refused_as_such() -> None:
    """A wrong passphrase is not taken for a damaged key."""
    with pytest.raises(ConfigError, match="cannot be opened with this passphrase"):
        keys.normalise(private_key("ed25519", "OpenSSH", PASSPHRASE), "wrong horse")


def test_a_passphrase_that_is_not_needed_does_no_harm() -> None:
    """A key without passphrase is taken even where one is given."""
    assert keys.normalise(private_key("ed25519"), PASSPHRASE)


@pytest.mark.parametrize("text", ["", "hunter2", PUTTY, CUT, private_key("ed25519")])
def test_only_a_protected_key_counts_as_encrypted(text: str) -> None:
    """A key with another fault, or none, is not asked a passphrase for."""
    assert not keys.is_encrypted(text)


@given(st.text(max_size=200))
def test_a_refusal_never_repeats_the_text(text: str) -> None:
    """Whatever is given for a key, the refusal's words are ours alone."""
    secret = f"-----BEGIN OPENSSH PRIVATE KEY-----\n<{text}>"
    with pytest.raises(ConfigError) as caught:
        keys.normalise(secret)
    assert f"<{text}>" not in str(caught.value)
