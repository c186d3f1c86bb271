"""A service inside a test: its parts, its API without a network, and workers that play recordings."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlmodel import select
from starlette.testclient import TestClient

from api.data.database import AWAY
from api.data.tables import Delivery, Organization, Run, Server, now
from api.main import create_app
from api.parts import Parts
from api.security.tokens import MANAGE
from api.work.worker import Worker
from ocore.testing import ReplayTransport
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import httpx2
    from sqlmodel import Session

    from api.settings import Settings

_T = TypeVar("_T")
RECORDINGS = Path(__file__).parent.parent / "unit" / "data" / "runs"
SECONDS = 30.0
# One client makes all requests of a test, and many of them are refused on purpose.
UNLIMITED: dict[str, Any] = {"rate_organization": 0, "rate_address": 0, "rate_failures": 0}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Return what a condition gives once it gives something."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@dataclass
class Service:
    """A service, and a client of each of its organizations."""

    settings: Settings
    parts: Parts
    client: TestClient
    organizations: dict[str, str] = field(default_factory=dict)
    _made: int = 0

    def organization(self, name: str = "one") -> str:
        """Return the id of an organization; it is made when it is first asked for."""
        if name not in self.organizations:
            made = Organization(name=name)
            with self.parts.database.write() as session:
                session.add(made)
            self.organizations[name] = made.id
        return self.organizations[name]

    def token(self, permissions: Sequence[str] = (MANAGE,), organization: str = "one", seconds: int = 3600) -> str:
        """Return a token."""
        return self.parts.tokens.issue(self.organization(organization), "tester", permissions, seconds)[0]

    def call(self, method: str, path: str, *, token: str | None = None, **what: Any) -> httpx2.Response:
        """Make a request, as somebody who may do everything unless a token is given; an empty one sends none."""
        headers = dict(what.pop("headers", {}))
        token = self.token() if token is None else token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return self.client.request(method, path, headers=headers, **what)

    def body(self, **fields: Any) -> dict[str, Any]:
        """Return what creates a server, with a name and a host that no other one has."""
        self._made += 1
        given = {
            "name": f"server-{self._made}",
            "host": str(IPv4Address("192.0.2.0") + self._made),
            "sshPrivateKey": private_key("ed25519"),
        }
        return {name: value for name, value in (given | fields).items() if value is not None}

    def create(self, organization: str = "one", **fields: Any) -> dict[str, Any]:
        """Create a server."""
        made = self.call("POST", "/api/servers", token=self.token(organization=organization), json=self.body(**fields))
        assert made.status_code == 201, made.text
        found: dict[str, Any] = made.json()
        return found

    def get(self, server: str) -> dict[str, Any]:
        """Return a server."""
        found: dict[str, Any] = self.call("GET", f"/api/servers/{server}").json()
        return found

    def runs(self, server: str) -> list[dict[str, Any]]:
        """Return a server's runs, newest first."""
        found: list[dict[str, Any]] = self.call("GET", f"/api/servers/{server}/runs").json()["runs"]
        return found

    def set(self, server: str, **columns: Any) -> None:
        """Put a server into a state, without a run."""
        with self.parts.database.write() as session:
            row = session.exec(select(Server).where(Server.id == server)).one()
            for name, value in columns.items():
                setattr(row, name, value)
            session.add(row)

    def set_runs(self, server: str, **columns: Any) -> None:
        """Put all runs of a server into a state."""
        with self.parts.database.write() as session:
            for row in session.exec(select(Run).where(Run.server_id == server)).all():
                for name, value in columns.items():
                    setattr(row, name, value)
                session.add(row)

    def until(self, server: str, status: str, seconds: float = SECONDS) -> dict[str, Any]:
        """Wait until a server has a status, and return it."""

        def reached() -> dict[str, Any] | None:
            found = self.get(server)
            return found if found.get("status") == status else None

        found: dict[str, Any] = wait_for(reached, f"{server} is {status}; it is {self.get(server)}", seconds)
        return found

    def refuse(self, which: Callable[[Any], bool]) -> None:
        """Have the database refuse each transaction that writes one of these rows: it refers to nothing."""

        def watch(session: Session, *_: Any) -> None:
            if any(which(one) for one in (*session.new, *session.dirty)):
                session.add(Delivery(webhook_id="gone", message_id="m", event="e", body="", created_at=now()))

        self.parts.database.watch(watch)

    @contextlib.contextmanager
    def worker(self, transport: Any = None) -> Iterator[Worker]:
        """Have a worker of this process, which plays a recording instead of reaching a server."""
        worker = Worker(self.parts, transport or recording("bare"))
        worker.start()
        try:
            yield worker
        finally:
            worker.stop()


def recording(name: str, **options: Any) -> ReplayTransport:
    """Return a transport that plays one of the recordings of the unit tests."""
    return ReplayTransport(RECORDINGS / f"{name}.jsonl", own_keys=True, **options)


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Service]:
    """Open a service, and close it."""
    parts = Parts.open(settings)
    try:
        with TestClient(create_app(parts=parts), base_url="http://localhost") as client:
            yield Service(settings, parts, client)
    finally:
        parts.close()


def patiently(deadline: float, what: Callable[[], _T]) -> _T:
    """Do it again while the database is locked, as workers do: one of many at one SQLite may wait too long."""
    while time.monotonic() < deadline:
        with contextlib.suppress(AWAY):
            return what()
    return what()
