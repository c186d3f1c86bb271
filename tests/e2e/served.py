"""A service of real processes: `ocore serve` as its users start it, in a folder of its own, and clients over HTTP."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import httpx2
import psycopg

from api.parts import RINGS
from tests.integration.apart import seconds_until
from tests.integration.support import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.hosts import Host

QUIET_SSHD = "PerSourcePenalties no\nMaxStartups 100\n"
# Quick, so that what is lost is found within a test's patience.
QUICK = {
    "allow_loopback": 1,
    "minimum_disk_gb": 1,
    "lease_seconds": 10,
    "heartbeat_seconds": 1,
    "sweep_seconds": 0.5,
    "grace_seconds": 0,
    "monitor": "false",
    "monitor_interval": 1,
    "workers": 2,
    "log_level": "debug",
    # Tests ask as often as they can.
    "rate_organization": 0,
    "rate_address": 0,
}
READY = 90.0
# What this starts is killed with it.
ELSEWHERE = ["unshare", *(["--user", "--map-current-user"] if os.getuid() else [])]
ELSEWHERE += ["--pid", "--mount-proc", "--fork", "--kill-child=SIGKILL"]
_AT = re.compile(r"oCore serves at (http://\S+)")


@dataclass
class Program:
    """One process of the service, and the file that it logs to."""

    role: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its id."""
        return self.process.pid

    @property
    def url(self) -> str | None:
        """Where its API listens, once it does."""
        found = _AT.search(self.said())
        return found[1] if found else None

    def said(self) -> str:
        """Return what it has logged."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def is_ready(self) -> bool:
        """Tell whether it serves and works; fail where it has ended."""
        assert self.process.poll() is None, self.said()[-3000:]
        if self.role != "api" and "worker started" not in self.said():
            return False
        return self.role == "worker" or self.url is not None

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal, and wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(READY * 2)


class Served:
    """A service's folder and settings, and the processes that were started on them."""

    def __init__(self, folder: Path, storage: Mapping[str, str], **settings: object) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.storage = storage
        self.answers: list[bytes] = []
        self.running: list[Program] = []
        # What stands before each command, to have it run somewhere else, and what makes Python our program.
        self.inside: list[str] = []
        self.entry = ["-m", "ocore"]
        self._numbers = itertools.count(1)
        given = QUICK | settings
        self._port = str(settings.get("port", 0))
        self.environment = {
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "OCORE_HOME": str(self.home),
            "PYTHONDONTWRITEBYTECODE": "1",
            **storage,
            **{f"OCORE_{name.upper()}": str(value) for name, value in given.items()},
        }
        # Only the embedded storage makes its own keys.
        if storage:
            self.make_keys()

    def make_keys(self) -> None:
        """Make the rings of keys."""
        for ring in RINGS:
            self.command("keys", "create", ring)

    def __enter__(self) -> Self:
        """Begin to use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs."""
        for program in self.running:
            program.end(signal.SIGKILL)

    # --- processes ----------------------------------------------------------------------------------------------------

    def start(self, *roles: str, elsewhere: bool = False) -> list[Program]:
        """Start a process for each role, all at once, and wait until they are ready.

        Such as are `elsewhere` have process ids of their own, as on another machine: nobody here can tell whether
        they live.
        """
        programs = [self.begin(role, ELSEWHERE if elsewhere else self.inside) for role in roles]
        for program in programs:
            seconds_until(program.is_ready, READY, f"{program.role} is ready")
        return programs

    def begin(self, role: str, before: Sequence[str] = ()) -> Program:
        """Start a process for a role, by way of another program where one is given, and do not wait for it."""
        log = self.logs / f"{role}-{next(self._numbers)}.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*before, sys.executable, *self.words(role)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=self.environment,
                cwd=self.folder,
                # A terminal's Ctrl-C is for who started us; we end what we have started.
                start_new_session=True,
            )
        program = Program(role, process, log)
        self.running.append(program)
        return program

    def words(self, role: str) -> list[str]:
        """Return the arguments by which Python becomes a process of the service."""
        return [*self.entry, "serve", "--role", role, *([] if role == "worker" else ["--port", self._port])]

    def set(self, **settings: object) -> None:
        """Change settings, for processes that are started from now on."""
        self.environment |= {f"OCORE_{name.upper()}": str(value) for name, value in settings.items()}

    def kill(self, *programs: Program) -> float:
        """Kill processes without a warning, all at once; return when."""
        for program in programs:
            program.process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        for program in programs:
            program.process.wait(READY)
            self.running.remove(program)
        return killed

    def command(self, *arguments: str) -> str:
        """Run another command of ours to its end; return what it printed."""
        command = [*self.inside, sys.executable, *self.entry, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env=self.environment, cwd=self.folder, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # --- looking ------------------------------------------------------------------------------------------------------

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what a query finds in the database, beside the service."""
        if not self.storage:
            with closing(sqlite3.connect(f"file:{self.home / 'ocore.db'}?mode=ro", uri=True, timeout=10)) as found:
                return found.execute(query).fetchall()
        with psycopg.connect(self.storage["OCORE_DATABASE_URL"]) as connection:
            return connection.execute(query.encode()).fetchall()

    def urls(self) -> list[str]:
        """Return where the APIs listen."""
        return [url for program in self.running if (url := program.url) is not None]

    def client(self, organization: str = "one") -> Client:
        """Return a client of a new organization, who may do everything."""
        self.command("org", "create", organization)
        return Client(self, self.command("token", "issue", "--org", organization).strip())


@dataclass(frozen=True)
class Said:
    """One event of a run."""

    number: int
    type: str
    data: dict[str, Any]


@dataclass
class Client:
    """Somebody with a token, who asks each of the service's APIs in turn; every answer is kept."""

    served: Served
    token: str
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    def http(self, seconds: float | None = 30.0) -> httpx2.Client:
        """Return what makes requests as this somebody."""
        urls = self.served.urls()
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx2.Client(base_url=urls[next(self._turn) % len(urls)], headers=headers, timeout=seconds)

    def call(self, method: str, path: str, status: int | None = 200, **what: Any) -> Any:
        """Make a request, and return what the answer says; its status must be this one, unless that is None."""
        with self.http() as http:
            answer = http.request(method, f"/api{path}", **what)
        self.served.answers.append(repr(answer.headers).encode() + answer.content)
        assert status in {None, answer.status_code}, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() | ({} if status else {"_status": answer.status_code})

    def create(self, host: Host, **fields: Any) -> dict[str, Any]:
        """Create a server for a test host; it is logged in to with the tests' key unless something else is given."""
        body = {"name": host.name, "host": host.address, "port": host.ssh_port, "sshUser": host.user} | fields
        if "sshPrivateKey" not in body and body.get("authMethod") != "password":
            body["sshPrivateKey"] = key_of(host)
        found: dict[str, Any] = self.call("POST", "/servers", 201, json=body)
        return found

    def get(self, server: str) -> dict[str, Any]:
        """Return a server."""
        found: dict[str, Any] = self.call("GET", f"/servers/{server}")
        return found

    def logs(self, server: str) -> list[dict[str, Any]]:
        """Return a server's provisioning log."""
        found: list[dict[str, Any]] = self.call("GET", f"/servers/{server}/provisioning-logs")["logs"]
        return found

    def runs(self, server: str) -> list[dict[str, Any]]:
        """Return a server's runs, newest first."""
        found: list[dict[str, Any]] = self.call("GET", f"/servers/{server}/runs")["runs"]
        return found

    def run(self, name: str) -> dict[str, Any]:
        """Return a run."""
        found: dict[str, Any] = self.call("GET", f"/runs/{name}")
        return found

    def ask(self, server: str, kind: str = "provision", **fields: Any) -> dict[str, Any]:
        """Ask for a run."""
        found: dict[str, Any] = self.call("POST", f"/servers/{server}/runs", 202, json={"kind": kind} | fields)
        return found

    def until(self, server: str, status: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until a server has a status; fail at once where it has come to an error instead."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.get(server)
            if found["status"] == status:
                return found
            assert status == "error" or found["status"] != "error", found
            assert time.monotonic() < deadline, f"not {status} within {seconds} s: {found}"
            time.sleep(0.1)

    def ended(self, name: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until a run has ended."""
        seconds_until(lambda: self.run(name)["finishedAt"], seconds, f"the run ends; it is {self.run(name)}")
        return self.run(name)

    def follow(self, name: str, after: int = 0) -> Iterator[Said]:
        """Yield a run's events as they come, to its end."""
        headers = {"Last-Event-ID": str(after)} if after else {}
        with self.http(None) as http, http.stream("GET", f"/api/runs/{name}/events", headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                self.served.answers.append(line.encode())
                if line:
                    word, _, value = line.partition(": ")
                    fields[word] = value
                elif "id" in fields:
                    yield Said(int(fields["id"]), fields["event"], json.loads(fields["data"]))
                    fields = {}

    def delete(self, server: str, seconds: float = 120) -> None:
        """Remove a server, and wait until it is gone."""
        self.call("DELETE", f"/servers/{server}", 202)
        seconds_until(
            lambda: self.call("GET", f"/servers/{server}", None).get("_status") == 404, seconds, "the server is gone"
        )
