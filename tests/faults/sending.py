"""Each operation of the API's document, with a text in each place where one may stand."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlmodel import select

from api.data.tables import Server
from api.service.agents import token_for
from tests.service import access_table
from tests.service.test_agents import TOLD

if TYPE_CHECKING:
    import httpx2

    from tests.service.support import Service


def places(service: Service) -> dict[str, list[tuple[str, str, Any]]]:
    """Return for each operation where text may stand: in which part, by which name, and the schema."""
    document = service.client.get("/openapi.json").json()
    found: dict[str, list[tuple[str, str, Any]]] = {}
    for operation, told in access_table.operations(service).items():
        at = [(one["in"], one["name"], one["schema"]) for one in told.get("parameters", [])]
        schema = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        name = next((one["$ref"] for one in [schema, *schema.get("anyOf", [])] if "$ref" in one), "").rpartition("/")[2]
        properties = document["components"]["schemas"][name]["properties"] if name else {}
        at += [("body", key, one) for key, one in properties.items()]
        at += [("key", "", {})] if properties else []
        # The gate reads these of every operation alike.
        at += [("header", name, {}) for name in OF_ALL] if operation == "GET /api/servers/{id}" else []
        found[operation] = at
    return found


HEARTBEAT = "POST /api/agent/heartbeat"
OF_ALL = ("authorization", "x-request-id", "content-type", "x-forwarded-for")


def _is_list(schema: dict[str, Any]) -> bool:
    return any(one.get("type") == "array" for one in [schema, *schema.get("anyOf", [])])


@dataclasses.dataclass
class Asking:
    """One operation, with a text in one place of its request."""

    service: Service
    operation: str
    part: str
    name: str
    schema: dict[str, Any]

    def __post_init__(self) -> None:
        """Prepare what the operation needs."""
        self.token: str | None = None
        _forget_webhooks(self.service)
        self.call = access_table.prepared(self.service, self.operation)
        if self.operation == HEARTBEAT:
            self.call = access_table.Call("POST", self.call.path, TOLD)
            self.token = _agent_token(self.service)

    def ask(self, text: str) -> httpx2.Response:
        """Send the request with a text in its place."""
        headers: dict[str, Any] = {}
        if self.part == "header":
            # As bytes: whatever a server in front lets through.
            headers[self.name] = text.encode("utf-8", "surrogatepass")
        sent: dict[str, Any] = {"headers": headers, "token": self.token}
        if self.name == "authorization":
            sent["token"] = ""
        body = self._body(text)
        if body or self.call.body is not None:
            sent["content"] = json.dumps(body)
            headers.setdefault("content-type", "application/json")
        return self.service.call(self.call.method, self._where(text), **sent)

    def _body(self, text: str) -> dict[str, Any]:
        body = dict(self.call.body or {})
        if self.operation == "POST /api/servers":
            body |= self.service.body()
        if self.operation == "POST /api/webhooks":
            _forget_webhooks(self.service)
        if self.operation == "POST /api/runs" and self.name in {"q", "status"}:
            body = {}  # servers are chosen by their names or by these
        if self.part == "body":
            body[self.name] = [text] if _is_list(self.schema) else text
        return body | ({text: text} if self.part == "key" else {})

    def _where(self, text: str) -> str:
        if self.part == "path":
            return self._path(text)
        more = f"{'&' if '?' in self.call.path else '?'}{self.name}={_quoted(text)}"
        return self.call.path + (more if self.part == "query" else "")

    def _path(self, text: str) -> str:
        given = self.operation.split()[1].split("/")
        now = self.call.path.partition("?")[0].split("/")
        return "/".join(_quoted(text) if one == f"{{{self.name}}}" else now[at] for at, one in enumerate(given))


def _forget_webhooks(service: Service) -> None:
    """Delete all webhooks: an organization may have so many only."""
    for one in service.call("GET", "/api/webhooks").json()["webhooks"]:
        service.call("DELETE", f"/api/webhooks/{one['id']}")


def _agent_token(service: Service) -> str:
    """Return the token of a new server's agent, as a run would bring it."""
    name = service.create()["id"]
    with service.parts.database.write() as session:
        server = session.exec(select(Server).where(Server.id == name)).one()
        return token_for(session, server, service.parts.seal, anew=True)


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")
