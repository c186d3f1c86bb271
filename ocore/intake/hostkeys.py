"""SSH host keys as values: type, key and the fingerprint that people compare."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from ocore.errors import ConfigError

# Never ssh-dss; ssh-rsa names the key's type here, its signatures are SHA-2 only.
TYPES: Final = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
MAX_BLOB: Final = 4096
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True, slots=True)
class HostKey:
    """The key by which a server proves who it is.

    Attributes:
        type: such as "ssh-ed25519".
        key: the public key in base64, as known_hosts files have it.

    """

    type: str
    key: str

    def __post_init__(self) -> None:
        """Refuse what is no host key."""
        if self.type not in TYPES:
            raise ConfigError("host_key", f"must be of one of the types {', '.join(TYPES)}")
        try:
            blob = base64.b64decode(self.key, validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError("host_key", "is not base64") from None
        name = self.type.encode()
        if len(blob) > MAX_BLOB or not blob.startswith(len(name).to_bytes(4, "big") + name):
            raise ConfigError("host_key", "is not a key of its type")

    @classmethod
    def parse(cls, text: str) -> HostKey:
        """Read "TYPE BASE64 [COMMENT]", as in a `.pub` file."""
        words = text.split()
        if len(words) < 2:  # noqa: PLR2004 - type and key
            raise ConfigError("host_key", 'must look like "ssh-ed25519 AAAA…"')
        return cls(words[0], words[1])

    @property
    def fingerprint(self) -> str:
        """The SHA-256 fingerprint, as `ssh-keygen -lf` prints it."""
        digest = hashlib.sha256(base64.b64decode(self.key)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def __str__(self) -> str:
        """Return "TYPE BASE64"."""
        return f"{self.type} {self.key}"


def check_fingerprint(text: str) -> str:
    """Return a SHA-256 fingerprint in its normal form, or raise ConfigError."""
    bare = text.strip().rstrip("=")
    if not _FINGERPRINT.fullmatch(bare):
        raise ConfigError(
            "expected_fingerprint", "must look like SHA256: and 43 characters, as `ssh-keygen -lf` prints"
        )
    return bare


def algorithms(preferred: str | None) -> str:
    """Return OpenSSH's HostKeyAlgorithms value that asks for the preferred type first.

    A server that has several keys must be asked for the pinned one, or a new order of preference would look like a
    changed key.
    """
    ordered = [preferred, *(kind for kind in TYPES if kind != preferred)] if preferred else list(TYPES)
    names = ["rsa-sha2-512,rsa-sha2-256" if kind == "ssh-rsa" else kind for kind in ordered]
    return ",".join(names)
