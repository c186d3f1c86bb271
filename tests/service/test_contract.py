"""The seed's contract against the API's document and real answers, both ways: nothing missing, nothing extra."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from api.data.tables import StepLog, now
from tests.service.support import recording
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from tests.service.support import Service

CONTRACT = json.loads((Path(__file__).parent / "data" / "servers-contract.json").read_text(encoding="utf-8"))
OPERATIONS = {(one["method"], CONTRACT["prefix"] + one["path"]): one for one in CONTRACT["operations"]}
# What the service has beside the seed's; a new operation is listed here, on purpose.
OURS = {
    ("POST", "/api/servers/{id}/runs"),
    ("GET", "/api/servers/{id}/runs"),
    ("GET", "/api/servers/{id}/receipts"),
    ("GET", "/api/receipts/keys"),
    ("GET", "/api/audit"),
    ("GET", "/api/webhooks"),
    ("POST", "/api/webhooks"),
    ("GET", "/api/webhooks/{id}"),
    ("PUT", "/api/webhooks/{id}"),
    ("DELETE", "/api/webhooks/{id}"),
    ("GET", "/api/webhooks/{id}/deliveries"),
    ("POST", "/api/webhooks/{id}/deliveries/{delivery}/replay"),
    ("GET", "/api/capacity/size"),
    ("GET", "/api/servers/{id}/plan"),
    ("POST", "/api/runs"),
    ("GET", "/api/batches"),
    ("GET", "/api/batches/{id}"),
    ("GET", "/api/batches/{id}/runs"),
    ("POST", "/api/batches/{id}/cancel"),
    ("GET", "/api/servers/{id}/drift"),
    ("POST", "/api/agent/heartbeat"),
    ("POST", "/api/servers/{id}/agent-token"),
    ("GET", "/api/servers/{id}/metrics"),
    ("GET", "/api/servers/{id}/metrics/latest"),
    ("GET", "/api/runs/{id}"),
    ("POST", "/api/runs/{id}/cancel"),
    ("GET", "/api/runs/{id}/debug-bundle"),
    ("GET", "/api/runs/{id}/events"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
}
# API.md lets them be given already when a server is created.
ALSO_ON_CREATE = {"description": "string", "proxyType": "string"}
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")


class Document:
    """The API's document, with its references followed."""

    def __init__(self, service: Service) -> None:
        self._all = service.client.get("/openapi.json").json()
        self.operations = {
            (method.upper(), path): operation
            for path, methods in self._all["paths"].items()
            for method, operation in methods.items()
        }

    def shape(self, schema: dict[str, Any]) -> Any:
        """Return a schema in the contract's notation; every member of an object must be required."""
        if "$ref" in schema:
            return self.shape(self._all["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        if "anyOf" in schema:
            return "|".join(str(self.shape(one)) for one in schema["anyOf"])
        if schema["type"] == "array":
            return [self.shape(schema["items"])]
        if schema["type"] == "object":
            return {name: self.shape(one) for name, one in schema["properties"].items()}
        return schema["type"]

    def answer(self, operation: tuple[str, str], status: int) -> Any:
        """Return the shape of an answer; nothing in it may be absent."""
        schema = self.operations[operation]["responses"][str(status)]["content"]["application/json"]["schema"]
        assert not self._optional(schema)
        return self.shape(schema)

    def request(self, operation: tuple[str, str]) -> dict[str, str]:
        """Return the shape of a request, where null stands for absent."""
        schema = self.operations[operation]["requestBody"]["content"]["application/json"]["schema"]
        return {name: kind.removesuffix("|null") for name, kind in self.shape(schema).items()}

    def _optional(self, schema: dict[str, Any]) -> set[str]:
        if "$ref" in schema:
            return self._optional(self._all["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", []), *[schema.get("items", {})]]
        found = set(schema.get("properties", {})) - set(schema.get("required", []))
        return found.union(*(self._optional(one) for one in inner if one))


def test_the_document_has_the_seed_s_operations_and_ours(service: Service) -> None:
    """Each of the nine is there, and what else there is, is known."""
    assert Document(service).operations.keys() == OPERATIONS.keys() | OURS


def test_the_document_has_the_seed_s_answers(service: Service) -> None:
    """The status of success, and every field with its type and whether it may be null, are the contract's."""
    document = Document(service)
    for operation, agreed in OPERATIONS.items():
        statuses = [code for code in document.operations[operation]["responses"] if code.startswith("2")]
        assert statuses == [str(agreed["status"])], operation
        assert document.answer(operation, agreed["status"]) == agreed["response"], operation


def test_the_document_has_the_seed_s_requests(service: Service) -> None:
    """POST and PUT take the contract's fields, and the two more that may be given on creation; the rest take none."""
    document = Document(service)
    for operation, agreed in OPERATIONS.items():
        if "request" in agreed:
            also = ALSO_ON_CREATE if agreed["method"] == "POST" else {}
            assert document.request(operation) == agreed["request"] | also, operation
        else:
            assert not document.operations[operation].get("requestBody", {}).get("required"), operation


def test_the_document_tells_problems_as_they_are_sent(service: Service) -> None:
    """Every documented error of the API has the media type and the members of a problem."""
    document = Document(service)
    for (_, path), operation in document.operations.items():
        for code, answer in operation["responses"].items():
            if path.startswith("/api/") and code[0] in "45":
                [(kind, told)] = answer["content"].items()
                assert kind == "application/problem+json"
                assert "requestId" in document.shape(told["schema"])


def test_the_document_has_no_defaults_in_bodies(service: Service) -> None:
    """A generated client would send them, and a PUT of one field would change the others."""
    document = service.client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    bodies = {
        operation["requestBody"]["content"]["application/json"]["schema"].get("$ref", "").rpartition("/")[2]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    } - {""}
    assert {"ServerCreate", "ServerUpdate", "RunCreate"} <= bodies
    for name in bodies:
        assert [field for field, one in schemas[name]["properties"].items() if "default" in one] == [], name


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every single value of an answer, and where it is; members of lists are all in one place."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _leaves(one, f"{at}/{name}")
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one, f"{at}/-")
    else:
        yield at, value


def _kind(value: object) -> str:
    kinds = {str: "string", int: "integer", float: "number", type(None): "null"}
    return kinds.get(type(value), str(type(value)))


class Seen:
    """What real answers of each operation were seen to hold."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))

    def take(self, method: str, path: str, answer: httpx2.Response) -> Any:
        """Take an answer: its status is the contract's, its times have one form."""
        agreed = OPERATIONS[method, path]
        assert answer.status_code == agreed["status"], answer.text
        body = answer.json()
        names = {place for place, _ in _leaves(agreed["response"])}
        assert {place for place, _ in _leaves(body)} == names, (method, path)
        for place, value in _leaves(body):
            self._kinds[method, path][place].add(_kind(value))
            if place.endswith("At") and value is not None:
                assert TIME.fullmatch(value), (place, value)
        return body

    def never_null(self, method: str, path: str) -> set[str]:
        """Return what may be null, and was not seen so."""
        agreed = dict(_leaves(OPERATIONS[method, path]["response"]))
        kinds = self._kinds[method, path]
        return {place for place, kind in agreed.items() if kind.endswith("|null") and "null" not in kinds[place]}

    def check(self, method: str, path: str) -> None:
        """Check that every value had a type that the contract gives it, and that each was seen to have one."""
        for place, kind in _leaves(OPERATIONS[method, path]["response"]):
            found, allowed = self._kinds[method, path][place], set(kind.split("|"))
            # A whole number is a number.
            allowed |= {"integer"} if "number" in allowed else set()
            assert found <= allowed, (method, path, place, found)
            assert found - {"null"}, (method, path, place, "was never known")


def test_real_answers_are_the_contract_s(service: Service) -> None:
    """Each operation's answers, before and after the server is known, have the contract's fields, types and nulls."""
    seen = Seen()
    made = seen.take("POST", "/api/servers", service.call("POST", "/api/servers", json=service.body()))
    at = f"/api/servers/{made['id']}"
    reads = ["/api/servers", *(f"/api/servers/{{id}}{end}" for end in ("", "/capacity"))]

    def look() -> None:
        for path in reads:
            seen.take("GET", path, service.call("GET", path.replace("/api/servers/{id}", at)))
        seen.take("PUT", "/api/servers/{id}", service.call("PUT", at, json={"description": "x"}))

    look()
    said = service.call("POST", f"{at}/reset-host-key")
    seen.take("POST", "/api/servers/{id}/reset-host-key", said)
    seen.take("POST", "/api/servers/{id}/retry", service.call("POST", f"{at}/retry"))
    with service.worker(recording("bare")):
        service.until(made["id"], "active")
    _have_an_agent_and_a_running_step(service, made["id"])
    look()
    logs = "/api/servers/{id}/provisioning-logs"
    seen.take("GET", logs, service.call("GET", f"{at}/provisioning-logs"))
    seen.take("DELETE", "/api/servers/{id}", service.call("DELETE", at))

    # A server that was just made is not known yet.
    for method, path in OPERATIONS.keys() - {("POST", "/api/servers")}:
        seen.check(method, path)
        assert not seen.never_null(method, path)


def _have_an_agent_and_a_running_step(service: Service, server: str) -> None:
    """Give a server what no recording brings it."""
    service.set(server, agent_status="connected", agent_version="1", agent_last_seen_at=now())
    run = service.runs(server)[0]["id"]
    with service.parts.database.write() as session:
        session.add(StepLog(server_id=server, run_id=run, step="docker", status="running", started_at=now()))


def test_a_created_server_is_answered_in_full(service: Service) -> None:
    """The answer to a creation has every field, as API.md has it before anything is known."""
    made = service.create(name="n", host="192.0.2.200")
    agreed = OPERATIONS["POST", "/api/servers"]["response"]
    assert made.keys() == agreed.keys()
    assert made | dict.fromkeys(("id", "createdAt", "updatedAt", "statusMessage"), "") == {
        "id": "",
        "name": "n",
        "host": "192.0.2.200",
        "port": 22,
        "sshUser": "root",
        "authMethod": "key",
        "maxSshSessions": 5,
        "description": "",
        "proxyType": "caddy",
        "status": "pending",
        "statusMessage": "",
        "provisioningStep": "",
        "osName": None,
        "osVersion": None,
        "cpuCores": 0,
        "ramTotalBytes": 0,
        "lastSeenAt": None,
        "createdAt": "",
        "updatedAt": "",
    }


def test_an_unknown_server_has_no_capacity_and_says_why(service: Service) -> None:
    """Before the hardware is known, the figures are zero, and the reasoning says so."""
    found = service.get(service.create()["id"])
    assert found["agentStatus"] == "not_installed"
    assert {value for name, value in found["capacity"].items() if name != "reasoning"} == {0}
    assert "not known" in found["capacity"]["reasoning"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_every_field_of_a_request_is_taken(service: Service, method: str) -> None:
    """Each field that the contract has in a request is accepted, and comes back where it is no secret."""
    given: dict[str, Any] = {
        "name": "all",
        "host": "192.0.2.201",
        "port": 2222,
        "sshUser": "admin",
        "authMethod": "key",
        "sshPrivateKey": private_key("rsa"),
        "sshPassword": "for sudo",
        "maxSshSessions": 3,
        "description": "d",
        "proxyType": "nginx",
    }
    agreed = OPERATIONS[method, "/api/servers" + ("" if method == "POST" else "/{id}")]
    assert given.keys() == agreed["request"].keys() | (ALSO_ON_CREATE.keys() if method == "POST" else set())
    path = "/api/servers" if method == "POST" else f"/api/servers/{service.create()['id']}"
    answer = service.call(method, path, json=given)
    assert answer.status_code == agreed["status"]
    kept = {name: value for name, value in answer.json().items() if name in given}
    assert kept == {name: value for name, value in given.items() if name not in {"sshPrivateKey", "sshPassword"}}
