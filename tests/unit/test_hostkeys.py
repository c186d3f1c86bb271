"""Host keys as values, and their fingerprints."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ocore.errors import ConfigError
from ocore.intake.hostkeys import TYPES, HostKey, algorithms, check_fingerprint
from tests.unit.keymaker import public_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_the_fingerprint_is_the_one_that_ssh_keygen_prints(kind: str, tmp_path: Path) -> None:
    """People compare fingerprints with those of ssh-keygen, so they must be equal."""
    file = tmp_path / "key.pub"
    file.write_text(public_key(kind) + "\n")
    printed = subprocess.run(["ssh-keygen", "-lf", str(file)], capture_output=True, text=True, check=True).stdout
    assert HostKey.parse(public_key(kind)).fingerprint == printed.split()[1]


def test_a_key_is_spelled_as_it_was_parsed() -> None:
    """Type and key survive a round trip; the comment goes."""
    assert str(HostKey.parse(f"{public_key()} root@host")) == public_key()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-dss AAAAB3NzaC1kc3M=",
        "ssh-ed25519 not-base64!",
        "ssh-ed25519 AAAA",
        public_key().replace("ssh-ed25519", "ssh-rsa"),
        "ssh-ed25519 " + "A" * 8192,
    ],
)
def test_what_is_no_host_key_is_refused(text: str) -> None:
    """A key of another type than it says, of a type that is not trusted, or no key at all is refused."""
    with pytest.raises(ConfigError, match=r"^host_key: "):
        HostKey.parse(text)


def test_a_fingerprint_is_brought_to_its_normal_form() -> None:
    """Blanks around a fingerprint and base64 padding do not matter."""
    fingerprint = HostKey.parse(public_key()).fingerprint
    assert check_fingerprint(f" {fingerprint}=\n") == fingerprint


@pytest.mark.parametrize("text", ["", "SHA256:short", "MD5:aa:bb", "SHA256:" + "!" * 43, "SHA256:" + "A" * 44])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    """Only SHA-256 fingerprints are taken."""
    with pytest.raises(ConfigError, match=r"^expected_fingerprint: "):
        check_fingerprint(text)


def test_the_pinned_type_is_asked_for_first() -> None:
    """A server with several keys is asked for the pinned one, and RSA only with SHA-2 signatures."""
    assert algorithms("ssh-rsa").startswith("rsa-sha2-512,rsa-sha2-256,ssh-ed25519")
    assert algorithms(None).startswith(TYPES[0])
    assert "ssh-rsa" not in algorithms("ssh-rsa").split(",")
