"""Where the test hosts keep what must outlive one command: keys, image archives and the hosts' own notes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).resolve().parents[2]


def directory(*parts: str) -> Path:
    """Return (and make, private to this user) a directory below the state directory."""
    base = Path(os.environ.get("OCORE_TEST_STATE") or CHECKOUT / ".dev").absolute()
    path = base.joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def owner() -> str:
    """Name this state directory in labels, so that cleaning up never touches another checkout's hosts."""
    return hashlib.sha256(str(directory()).encode()).hexdigest()[:12]


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of this state directory, so that two commands at once do not build the same thing twice."""
    with (directory("locks") / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, even while it is being written."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def client_key() -> Path:
    """Return the private key that the hosts let in; it is made once for each state directory."""
    key = directory("keys") / "id_ed25519"
    with locked("keys"):
        if not key.exists():
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ocore-test-hosts", "-f", str(key)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return key


def client_public_key() -> str:
    """Return the public half of `client_key`, as one line."""
    return client_key().with_suffix(".pub").read_text(encoding="utf-8").strip()
