"""Rings of keys: one active key, and the older ones that what they made still needs.

There are three rings that have nothing in common, for encryption, tokens and receipts: who exchanges one must not lose
what the other protects.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from api.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import SecretStr

KEY_BYTES: Final = 32
_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True)
class Ring:
    """Keys by their ids; `active` names the one that makes new things."""

    active: str
    keys: dict[str, bytes]

    @classmethod
    def new(cls) -> Ring:
        """Return a ring with one new key."""
        return cls("", {}).rotated()

    @classmethod
    def parse(cls, text: str) -> Ring:
        """Read a ring from JSON, or raise ValueError."""
        data = json.loads(text)
        keys = {name: base64.b64decode(key, validate=True) for name, key in data["keys"].items()}
        if data["active"] not in keys or any(len(key) != KEY_BYTES for key in keys.values()):
            raise ValueError("no ring of keys")
        return cls(data["active"], keys)

    def prepared(self) -> Ring:
        """Return the ring with a new key that is not active yet."""
        name = f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(4)}"
        return Ring(self.active, self.keys | {name: secrets.token_bytes(KEY_BYTES)})

    def rotated(self) -> Ring:
        """Return the ring with its newest key active: one that was prepared, or else a new one. The older ones stay."""
        newest = next(reversed(self.keys), "")
        if newest == self.active:
            return self.prepared().rotated()
        return Ring(newest, self.keys)

    def without_older(self) -> Ring:
        """Return the ring with its active key alone."""
        return Ring(self.active, {self.active: self.keys[self.active]})

    def to_json(self) -> str:
        """Return the ring as JSON."""
        keys = {name: base64.b64encode(key).decode() for name, key in self.keys.items()}
        return json.dumps({"active": self.active, "keys": keys}, indent=1)


class Keyring:
    """A ring that is kept in a file, or was given as a setting."""

    def __init__(self, name: str, file: Path, given: SecretStr | None) -> None:
        self.name = name
        self.file = file
        self._given = given
        self._seen: tuple[int, int] | None = None
        self._ring: Ring | None = None

    @property
    def where(self) -> str:
        """Where the ring is, in words."""
        return str(self.file) if self._given is None else f"the setting OCORE_{self.name.upper()}_KEYS"

    def exists(self) -> bool:
        """Tell whether there is a ring."""
        return self._given is not None or self.file.exists()

    def create(self) -> None:
        """Make a ring where there is none, for our user only."""
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        written = self._written(Ring.new())
        # Whole or not at all: others may be starting, too, and read it at once.
        with suppress(FileExistsError):  # another process was faster
            self.file.hardlink_to(written)
        written.unlink()

    def ring(self) -> Ring:
        """Return the ring; the file is read again when it has changed.

        Raises:
            SetupError: there is none, it is readable by others, or it is no ring.

        """
        if self._given is not None:
            self._ring = self._ring or self._parsed(self._given.get_secret_value())
            return self._ring
        try:
            found = self.file.stat()
        except OSError:
            raise SetupError(
                f"There are no {self.name} keys: {self.file} is not there. Put the file back, or make new keys with "
                f"`ocore keys create {self.name}`."
            ) from None
        if found.st_mode & _OTHERS:
            raise SetupError(f"{self.file} can be read by others; `chmod 600` it, and consider to rotate the keys.")
        seen = (found.st_mtime_ns, found.st_ino)
        if self._ring is None or seen != self._seen:
            self._ring, self._seen = self._parsed(self.file.read_text("ascii", "replace")), seen
        return self._ring

    def change(self, how: Callable[[Ring], Ring]) -> Ring:
        """Put another ring in this one's place, in one step and one after the other; return it."""
        if self._given is not None:
            raise SetupError(f"The {self.name} keys are in {self.where}; change them there.")
        with self.file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._written(how(self.ring())).replace(self.file)
        return self.ring()

    def _written(self, ring: Ring) -> Path:
        """Return a new file beside ours, for our user only, with a ring in it."""
        descriptor, name = tempfile.mkstemp(dir=self.file.parent, prefix=self.file.name)
        with os.fdopen(descriptor, "w") as file:
            file.write(ring.to_json())
            file.flush()
            os.fsync(file.fileno())
        return Path(name)

    def _parsed(self, text: str) -> Ring:
        try:
            return Ring.parse(text)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SetupError(f"What is in {self.where} is no ring of keys.") from None
