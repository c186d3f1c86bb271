"""Who may do what: each operation of the API's document, tried by each kind of caller.

`python -m tests.service.access_table` prints the table; test_access.py compares it with the expected one.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from api.data.tables import Delivery, RunState, ServerStatus, now
from api.parts import TOKEN
from api.security.keyring import Keyring
from api.security.tokens import VIEW, Tokens
from api.settings import Settings
from tests.service.support import UNLIMITED, opened

if TYPE_CHECKING:
    from tests.service.support import Service

METHODS = ("get", "post", "put", "delete", "patch", "head", "options", "trace")


def operations(service: Service) -> dict[str, dict[str, Any]]:
    """Return every operation of the document, as METHOD PATH."""
    document = service.client.get("/openapi.json").json()
    return {
        f"{method.upper()} {path}": found
        for path, methods in document["paths"].items()
        for method, found in methods.items()
        if method in METHODS
    }


def callers(service: Service, folder: Path) -> dict[str, str]:
    """Return a token for each kind of caller."""
    ring = Keyring(TOKEN, folder / "another-ring.json", None)
    ring.create()
    stranger = Tokens(ring, service.settings)
    return {
        "no token": "",
        "expired": service.token(seconds=-3600),
        "wrong key": stranger.issue(service.organization(), "tester", ["manage:servers"], 3600)[0],
        "other organization": service.token(organization="two"),
        "view only": service.token([VIEW]),
        "manage": service.token(),
    }


@dataclass(frozen=True)
class Call:
    """A call that succeeds if the caller may make it."""

    method: str
    path: str
    body: dict[str, Any] | None = None


def _a_batch(service: Service) -> str:
    """Return the id of a new batch with a run that waits."""
    server = service.create()["id"]
    service.set(server, status=ServerStatus.ACTIVE)
    service.set_runs(server, state=RunState.SUCCEEDED)
    return str(service.call("POST", "/api/runs", json={"servers": [server]}).json()["id"])


def prepared(service: Service, operation: str) -> Call:
    """Prepare what an operation needs: a server of its own, in a state in which it is possible."""
    method, path = operation.split()
    if path == "/api/capacity/size":
        return Call(method, f"{path}?users=1")
    if path == "/api/runs":
        return Call(method, path, {"servers": [service.create()["id"]]})
    if path.startswith("/api/batches/"):
        return Call(method, path.replace("{id}", _a_batch(service)))
    if path.startswith("/api/webhooks"):
        return _webhook_call(service, method, path)
    if "{id}" not in path:
        return Call(method, path, service.body() if method == "POST" else None)
    server = service.create()["id"]
    run = service.runs(server)[0]["id"]
    if operation == "POST /api/servers/{id}/runs":
        service.set(server, status=ServerStatus.ACTIVE)
        service.set_runs(server, state=RunState.SUCCEEDED)
    if operation == "POST /api/servers/{id}/retry":
        service.set_runs(server, state=RunState.CANCELLED)
    body = {"description": "x"} if method == "PUT" else {} if path.endswith("/runs") and method == "POST" else None
    return Call(method, path.replace("{id}", run if path.startswith("/api/runs/") else server), body)


def _webhook_call(service: Service, method: str, path: str) -> Call:
    """Prepare a webhook with a delivery, where an operation needs them."""
    made = service.call("POST", "/api/webhooks", json={"url": "https://hooks.example.org/"}).json()["id"]
    delivery = Delivery(webhook_id=made, message_id="msg_1", event="server.active", body="{}", created_at=now())
    with service.parts.database.write() as session:
        session.add(delivery)
    body = {"POST": {"url": "https://hooks.example.org/"}, "PUT": {"description": "x"}}
    at = path.replace("{id}", made).replace("{delivery}", delivery.id)
    return Call(method, at, None if path.endswith("replay") else body.get(method))


def measured(service: Service, folder: Path) -> dict[str, dict[str, int]]:
    """Return, for each operation, the status that each kind of caller is answered."""
    tokens = callers(service, folder)
    # No worker carries a run on, so the stream of one would wait for ever.
    service.client.app.state.stopping.set()  # type: ignore[attr-defined]
    found: dict[str, dict[str, int]] = {}
    for operation in operations(service):
        found[operation] = {}
        for caller, token in tokens.items():
            call = prepared(service, operation)
            answer = service.call(call.method, call.path, token=token, json=call.body)
            found[operation][caller] = answer.status_code
    return found


def markdown(table: dict[str, dict[str, int]]) -> str:
    """Return the table as Markdown."""
    names = list(next(iter(table.values())))
    lines = [f"| operation | {' | '.join(names)} |", f"|---{'|---' * len(names)}|"]
    lines += [f"| `{operation}` | {' | '.join(map(str, row.values()))} |" for operation, row in table.items()]
    return "\n".join(lines)


def main() -> None:
    """Print the table, as a service on the embedded storage answers."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with (
        tempfile.TemporaryDirectory() as folder,
        opened(Settings(home=Path(folder), monitor=False, **UNLIMITED)) as service,
    ):
        print(markdown(measured(service, Path(folder))))  # noqa: T201 - for this it is run


if __name__ == "__main__":
    main()
