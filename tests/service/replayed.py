"""`ocore serve --replay` as a process that writes down every connection and every program that it begins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from api.data.tables import Organization
from api.parts import Parts
from api.security.tokens import MANAGE
from api.settings import Settings
from tests.service.support import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60.0
# Before anything else is loaded; the file is open already, so that writing to it is no event of its own.
WATCH = """
import os, sys
file = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
          "subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "os.system")
def hook(event, arguments):
    if event in EVENTS:
        os.write(file, f"{event} {arguments!r}\\n".encode())
sys.addaudithook(hook)
"""
_SERVE = "from ocore.cli import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class Replayed:
    """A service that replays.

    Attributes:
        url: where it listens.
        home: its folder.
        seen: the file with what it began.

    """

    url: str
    home: Path
    seen: Path

    def token(self) -> str:
        """Return a token of a new organization; made here, since another process would take its time."""
        parts = Parts.open(Settings(home=self.home, database_url="", queue_url=""))
        try:
            made = Organization(name="demo")
            with parts.database.write() as session:
                session.add(made)
            return parts.tokens.issue(made.id, "tester", [MANAGE], 3600)[0]
        finally:
            parts.close()


@contextmanager
def replayed(folder: Path, *words: str, **variables: str) -> Iterator[Replayed]:
    """Have such a service, which is gone afterwards."""
    seen, log = folder / "seen", folder / "log"
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "TMPDIR": str(folder), **variables}
    command = [sys.executable, "-c", WATCH + _SERVE, str(seen), "serve", "--port", "0", "--replay", *words]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment)
    try:

        def said() -> str | None:
            assert process.poll() is None, log.read_text()
            text = log.read_text()
            return text if "worker started" in text else None

        text = wait_for(said, "it serves", SECONDS)
        [url] = re.findall(r"oCore serves at (\S+)", text)
        [home] = re.findall(r"Data and keys: (\S+)", text)
        yield Replayed(url, Path(home), seen)
    finally:
        process.terminate()
        process.wait(SECONDS)
