"""The host keys that the command line trusts, per host and port, in a file without secrets.

Programs that use the library keep pins where they keep their servers: a pin goes in with `Server.host_key` and comes
out with `RunResult.host_key`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocore.errors import ConfigError
from ocore.intake.hostkeys import HostKey

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE: Final = "host_keys.json"
_VERSION: Final = 1

_Table = dict[str, HostKey]


def state_directory() -> Path:
    """Return the folder for the user's state: $XDG_STATE_HOME/ocore, ~/.local/state/ocore where that is not set."""
    given = os.environ.get("XDG_STATE_HOME", "")
    # The specification says that a relative path is to be ignored.
    base = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    return base / "ocore"


class Pins:
    """The pinned host keys of one state folder. Several processes may use it at the same time."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / FILE

    def get(self, host: str, port: int) -> HostKey | None:
        """Return the key that is pinned for a checked host and port."""
        return self._read().get(_name(host, port))

    def put(self, host: str, port: int, key: HostKey, *, known: HostKey | None) -> None:
        """Pin a key.

        Args:
            host: a checked host.
            port: its port.
            key: what the server showed.
            known: the pin that the caller decided by. Where another process has pinned another key since, nothing is
                stored: of two servers that answer at one address, one is false.

        Raises:
            ConfigError: another key was pinned meanwhile, or the file is damaged.

        """
        with self._changing() as table:
            found = table.get(_name(host, port))
            if found not in (known, key):
                shown = found.fingerprint if found else "none"
                raise ConfigError("host_key", f"is {key.fingerprint}, but another run pinned {shown} meanwhile")
            table[_name(host, port)] = key

    def forget(self, host: str, port: int) -> HostKey | None:
        """Remove the pin of a host and port, and return what it was."""
        with self._changing() as table:
            return table.pop(_name(host, port), None)

    def _read(self) -> _Table:
        try:
            document = json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable(error) from None
        except ValueError:
            raise self._damaged() from None
        return self._parsed(document)

    def _parsed(self, document: object) -> _Table:
        # A damaged file must not pass for an empty one: every server would be trusted as if seen for the first time.
        try:
            if document["version"] != _VERSION:  # type: ignore[index]
                raise self._damaged()
            entries = document["hosts"].items()  # type: ignore[index]
            return {name: HostKey(entry["type"], entry["key"]) for name, entry in entries}
        except (KeyError, TypeError, AttributeError, ConfigError):
            raise self._damaged() from None

    def _damaged(self) -> ConfigError:
        return ConfigError(str(self.file), "is not a file of pinned host keys; mend it, or move it away to pin anew")

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(str(self.file), f"cannot be used: {error.strerror}")

    @contextlib.contextmanager
    def _changing(self) -> Iterator[_Table]:
        """Hand out the table to change, alone; what it is at the end is stored."""
        try:
            with self._locked():
                table = self._read()
                before = dict(table)
                yield table
                if table != before:
                    self._write(table)
        except OSError as error:
            raise self._unusable(error) from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The lock is a file of its own: the file with the pins is replaced as a whole, and a lock would go with it.
        with self.file.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, table: _Table) -> None:
        document = {
            "version": _VERSION,
            "hosts": {name: {"type": key.type, "key": key.key} for name, key in sorted(table.items())},
        }
        # mkstemp makes the file 0600. It is complete on disk before it takes the old one's place.
        handle, name = tempfile.mkstemp(dir=self.file.parent, prefix=f"{FILE}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _name(host: str, port: int) -> str:
    return f"[{host}]:{port}"
