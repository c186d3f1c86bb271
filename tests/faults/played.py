"""A service of real processes whose servers are recordings: `ocore serve`, with another transport in its workers.

`python -m tests.faults.played FOLDER ROLE` is one such process; the folder is one that `ocore.Replay` reads.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ocore
from api.commands import serve
from api.data.tables import Organization
from api.parts import RINGS, Parts, keyring
from api.security.tokens import MANAGE
from api.settings import Settings
from ocore.replay import FILE, SHIPPED
from tests.e2e.served import Client, Served
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).parents[2]
# How long a run over a server of this name takes.
HOSTS: Final[Mapping[str, dict[str, Any]]] = {
    **{f"takes-{seconds}-{number}.example": {"seconds": seconds} for seconds in (4, 8, 15, 40) for number in range(12)},
    "hangs.example": {"hangs": True},
}


class Played(Served):
    """A service whose workers play recordings; everything else is as its users have it."""

    def __init__(self, folder: Path, storage: Mapping[str, str], **settings: object) -> None:
        self.recordings = shutil.copytree(SHIPPED, folder / "recordings")
        known = json.loads((self.recordings / FILE).read_text(encoding="utf-8"))
        (self.recordings / FILE).write_text(json.dumps(known | HOSTS), encoding="utf-8")
        # Where the storage is, for what is done here and not by a command, which takes its time to start.
        given = {name.removeprefix("OCORE_").lower(): value for name, value in storage.items()}
        self._settings = Settings(home=folder / "home", **given)  # type: ignore[arg-type]
        super().__init__(folder, storage, **settings)
        self.environment["PYTHONPATH"] = str(ROOT)

    def words(self, role: str) -> list[str]:
        """Return what starts a process; an API reaches no server anyway."""
        if role == "api":
            return super().words(role)
        return ["-m", "tests.faults.played", str(self.recordings), role]

    def make_keys(self) -> None:
        """Make the rings of keys."""
        for ring in RINGS:
            keyring(self._settings, ring).create()

    def client(self, organization: str = "one") -> Client:
        """Return a client of a new organization, who may do everything."""
        if self.inside:
            return super().client(organization)
        parts = Parts.open(self._settings)
        try:
            made = Organization(name=organization)
            with parts.database.write() as session:
                session.add(made)
            return Client(self, parts.tokens.issue(made.id, "tester", [MANAGE], 36000)[0])
        finally:
            parts.close()


def body(host: str) -> dict[str, Any]:
    """Return what creates a server of a recording."""
    return {"name": host, "host": host, "sshPrivateKey": private_key("ed25519")}


def create(client: Client, host: str) -> str:
    """Create a server of a recording; return its id."""
    return str(client.call("POST", "/servers", 201, json=body(host))["id"])


def only_run(client: Client, server: str) -> dict[str, Any]:
    """Return the only run of a server."""
    [found] = client.runs(server)
    return found


def main(words: list[str]) -> int:
    """Be one process."""
    folder, role = words
    # The command's own inside: there is no command that has workers alone replay, since nobody else needs it.
    return serve._run(role, Settings(), ocore.Replay(Path(folder)))  # noqa: SLF001


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
