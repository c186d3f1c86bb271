"""Secrets that nobody else has, and a host that lets in with them."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.integration import canary

if TYPE_CHECKING:
    from tests.hosts import Host

# What shells, JSON, YAML and Jinja stumble over.
AWKWARD = " '\"`$HOME\\ {{ 1+1 }}{% raw %} %s #;&|<> éß漢☂ -n"


class Canaries:
    """Keys and passwords, each with a name, and a scan for all that were made."""

    def __init__(self) -> None:
        self.patterns: dict[str, set[bytes]] = {}
        self.since = time.time() - 2

    def password(self, name: str) -> str:
        """Make a password."""
        made = secrets.token_urlsafe(12) + AWKWARD + secrets.token_urlsafe(6)
        self.patterns[name] = canary.spellings(made)
        return made

    def key(self, name: str) -> tuple[str, str]:
        """Make a private key; return it, and its public half."""
        made = ed25519.Ed25519PrivateKey.generate()
        raw, form = serialization.Encoding.Raw, serialization.PrivateFormat
        seed = made.private_bytes(raw, form.Raw, serialization.NoEncryption())
        pem = made.private_bytes(serialization.Encoding.PEM, form.OpenSSH, serialization.NoEncryption()).decode()
        public = made.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        self.patterns[name] = canary.key_spellings(pem, seed)
        return pem, public.decode()

    def names_in(self, data: bytes) -> set[str]:
        """Return the names of the secrets that are somewhere in some bytes."""
        return self.scan().names_in(data)

    def scan(self) -> canary.Scan:
        """Return what looks for all of them."""
        return canary.Scan(self.patterns)


def let_in(host: Host, public: str, login: str, sudo: str) -> None:
    """Let the host's user in with a key or a password; for sudo it wants another one, which is root's."""
    host.write(f"/etc/sudoers.d/{host.user}", f"Defaults rootpw\n{host.user} ALL=(ALL:ALL) ALL\n", mode="0440")
    host.write(f"/home/{host.user}/.ssh/authorized_keys", public + "\n")
    host.exec("chpasswd", stdin=f"{host.user}:{login}\nroot:{sudo}\n")
