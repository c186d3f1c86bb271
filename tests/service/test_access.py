"""Who may: each operation with each kind of token, the forms of a token, and whose ids are found."""

from __future__ import annotations

import base64
import json
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.data.tables import RevokedToken
from api.ids import new_id
from api.parts import TOKEN, keyring
from api.settings import Settings
from tests.service import access_table
from tests.service.problems import problem
from tests.service.support import UNLIMITED, opened
from tests.service.test_contract import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service.support import Service

# no token, expired, wrong key, other organization, view only, manage
EXPECTED = """
GET    /api/servers                        401 401 401 200 200 200
POST   /api/servers                        401 401 401 201 403 201
GET    /api/servers/{id}                   401 401 401 404 200 200
PUT    /api/servers/{id}                   401 401 401 404 403 200
DELETE /api/servers/{id}                   401 401 401 404 403 202
GET    /api/servers/{id}/capacity          401 401 401 404 200 200
GET    /api/servers/{id}/provisioning-logs 401 401 401 404 200 200
POST   /api/servers/{id}/reset-host-key    401 401 401 404 403 200
POST   /api/servers/{id}/retry             401 401 401 404 403 200
POST   /api/servers/{id}/runs              401 401 401 404 403 202
GET    /api/servers/{id}/runs              401 401 401 404 200 200
GET    /api/servers/{id}/plan              401 401 401 404 200 200
GET    /api/servers/{id}/drift             401 401 401 404 200 200
GET    /api/servers/{id}/receipts         401 401 401 404 200 200
GET    /api/receipts/keys                 401 401 401 200 200 200
GET    /api/audit                         401 401 401 200 200 200
GET    /api/webhooks                      401 401 401 200 200 200
POST   /api/webhooks                      401 401 401 201 403 201
GET    /api/webhooks/{id}                 401 401 401 404 200 200
PUT    /api/webhooks/{id}                 401 401 401 404 403 200
DELETE /api/webhooks/{id}                 401 401 401 404 403 204
GET    /api/webhooks/{id}/deliveries      401 401 401 404 200 200
POST   /api/webhooks/{id}/deliveries/{delivery}/replay 401 401 401 404 403 202
POST   /api/servers/{id}/agent-token       401 401 401 404 403 409
GET    /api/servers/{id}/metrics           401 401 401 404 200 200
GET    /api/servers/{id}/metrics/latest    401 401 401 404 200 200
POST   /api/agent/heartbeat                401 401 401 401 401 401
GET    /api/capacity/size                  401 401 401 200 200 200
GET    /api/runs/{id}                      401 401 401 404 200 200
POST   /api/runs/{id}/cancel               401 401 401 404 403 202
GET    /api/runs/{id}/debug-bundle         401 401 401 404 403 200
GET    /api/runs/{id}/events               401 401 401 404 200 200
POST   /api/runs                          401 401 401 202 403 202
GET    /api/batches                       401 401 401 200 200 200
GET    /api/batches/{id}                  401 401 401 404 200 200
GET    /api/batches/{id}/runs             401 401 401 404 200 200
POST   /api/batches/{id}/cancel           401 401 401 404 403 202
GET    /health/live                        200 200 200 200 200 200
GET    /health/ready                       200 200 200 200 200 200
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return one service for all tests of what is answered alike, whatever the storage is."""
    with opened(Settings(home=tmp_path_factory.mktemp("home"), monitor=False, **UNLIMITED)) as found:
        yield found


def _expected() -> dict[str, list[int]]:
    lines = [line.split() for line in EXPECTED.strip().splitlines()]
    return {f"{method} {path}": [int(code) for code in codes] for method, path, *codes in lines}


@pytest.mark.promise("A2")
def test_each_operation_answers_each_caller_as_expected(service: Service, tmp_path: Path) -> None:
    """The table is the expected one, line by line; an operation that is new in the document has no line, and fails."""
    found = access_table.measured(service, tmp_path)
    assert {operation: list(row.values()) for operation, row in found.items()} == _expected()
    for (method, path), agreed in OPERATIONS.items():
        row = found[f"{method} {path}"]
        assert row["manage"] == agreed["status"]
        assert (row["view only"] == 403) == (agreed["permission"] == "manage:servers")


def test_what_was_refused_changed_nothing(service: Service, tmp_path: Path) -> None:
    """Who may not, did not: the server and its runs are as before."""
    server = service.create()["id"]
    before = service.get(server), service.runs(server)
    run = before[1][0]["id"]
    for caller, token in access_table.callers(service, tmp_path).items():
        for operation in access_table.operations(service):
            method, path = operation.split()
            if method == "GET" or caller == "manage" or path == "/api/servers":
                continue
            at = path.replace("{id}", run if path.startswith("/api/runs/") else server)
            answer = service.call(method, at, token=token, json={"name": "stolen"} if method == "PUT" else {})
            assert answer.status_code in {401, 403, 404, 422}
    assert (service.get(server), service.runs(server)) == before


def test_the_table_is_written_as_markdown() -> None:
    """One line for each operation, one column for each caller."""
    written = access_table.markdown({"GET /x": {"no token": 401, "manage": 200}})
    assert written == "| operation | no token | manage |\n|---|---|---|\n| `GET /x` | 401 | 200 |"


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER {}", "bEaReR   {}", "{}", "  {}  "])
def test_a_token_is_taken_in_each_of_its_forms(shared: Service, form: str) -> None:
    """The scheme in any case, or the bare token, as the seed's example has it."""
    headers = {"Authorization": form.format(shared.token())}
    assert shared.call("GET", "/api/servers", token="", headers=headers).status_code == 200


@pytest.mark.parametrize("form", ["", "Bearer", "Basic {}", "Bearer {} x", "Bearer Bearer {}", "Token {}", "{},{}"])
def test_another_form_is_a_401_with_a_challenge(shared: Service, form: str) -> None:
    """The answer says how to authenticate, and nothing of what was sent."""
    token = shared.token()
    answer = shared.call("GET", "/api/servers", token="", headers={"Authorization": form.format(token, token)})
    told = problem(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="ocore"')
    assert token not in json.dumps(told)


def test_a_refusal_says_whether_a_token_was_sent(shared: Service) -> None:
    """RFC 6750: without a token there is no error code; with a bad one it is invalid_token."""
    bare = shared.call("GET", "/api/servers", token="")
    assert bare.headers["WWW-Authenticate"] == 'Bearer realm="ocore"'
    bad = shared.call("GET", "/api/servers", token="a.b.c")
    assert bad.headers["WWW-Authenticate"] == 'Bearer realm="ocore", error="invalid_token"'


def test_a_token_is_not_taken_from_anywhere_else(shared: Service) -> None:
    """Neither from the query, where logs would keep it, nor from a cookie, which other sites could send."""
    token = shared.token()
    for what in ({"params": {"access_token": token, "token": token}}, {"headers": {"Cookie": f"token={token}"}}):
        problem(shared.call("GET", "/api/servers", token="", **what), 401)


def test_a_revoked_token_is_not_taken(service: Service) -> None:
    """From the next request on; other tokens of the same subject still are."""
    token, other = service.token(), service.token()
    assert service.call("GET", "/api/servers", token=token).status_code == 200
    caller, ends = service.parts.tokens.read(token)
    with service.parts.database.write() as session:
        session.add(RevokedToken(id=caller.token, expires_at=datetime.fromtimestamp(ends, UTC)))
    problem(service.call("GET", "/api/servers", token=token), 401, "unauthorized")
    assert service.call("GET", "/api/servers", token=other).status_code == 200


def test_a_token_of_an_organization_that_is_gone_is_not_taken(service: Service) -> None:
    """It is signed well, and stands for nobody."""
    token, _ = service.parts.tokens.issue(new_id(), "tester", ["manage:servers"], 3600)
    problem(service.call("GET", "/api/servers", token=token), 401, "unauthorized")


def test_a_permission_that_nobody_knows_gives_nothing(shared: Service) -> None:
    """Neither an unknown one, nor none, nor one in other words opens a door."""
    for permissions in ([], ["admin"], ["MANAGE:SERVERS"], ["view:servers "], ["*"]):
        told = problem(shared.call("GET", "/api/servers", token=shared.token(permissions)), 403, "forbidden")
        assert "view:servers" in told["detail"]


def _claims(service: Service) -> dict[str, Any]:
    seconds = int(time.time())
    return {
        "iss": service.settings.token_issuer,
        "aud": service.settings.token_audience,
        "sub": "tester",
        "org": service.organization(),
        "permissions": ["manage:servers"],
        "iat": seconds,
        "exp": seconds + 600,
        "jti": new_id(),
    }


class Forger:
    """Signs whatever it is asked to, with the service's own key."""

    def __init__(self, service: Service) -> None:
        self._ring = keyring(service.settings, TOKEN).ring()
        self.key = Ed25519PrivateKey.from_private_bytes(self._ring.keys[self._ring.active])
        self.name = self._ring.active

    def token(self, claims: dict[str, Any], **header: Any) -> str:
        """Return a token that is signed well."""
        return jwt.encode(claims, self.key, "EdDSA", headers={"kid": self.name} | header)


def test_a_signed_token_with_other_claims_is_not_taken(shared: Service) -> None:
    """Every required claim must be there, of its type, and within its limits; the one with all of them is taken."""
    forger, claims = Forger(shared), _claims(shared)
    assert shared.call("GET", "/api/servers", token=forger.token(claims)).status_code == 200
    for name in ("iss", "aud", "sub", "org", "iat", "exp", "jti"):
        less = {one: value for one, value in claims.items() if one != name}
        problem(shared.call("GET", "/api/servers", token=forger.token(less)), 401)
    year = 366 * 86400
    for wrong in (
        {"iss": "x"},
        {"aud": "x"},
        {"org": "x" * 201},
        {"org": ""},
        {"permissions": "manage:servers"},
        {"permissions": [1]},
        {"exp": claims["iat"] + year + 1},
        {"exp": claims["iat"] - 60, "iat": claims["iat"] - 600},
        {"iat": claims["iat"] + 600, "exp": claims["iat"] + 1200},
        {"nbf": claims["iat"] + 600},
    ):
        problem(shared.call("GET", "/api/servers", token=forger.token(claims | wrong)), 401)


def test_a_token_is_believed_only_by_our_key_and_algorithm(shared: Service) -> None:
    """Another key under our key's name, no signature, a symmetric one made of the public key, and odd headers."""
    forger, claims = Forger(shared), _claims(shared)
    public = forger.key.public_key().public_bytes_raw()
    head, body, signature = forger.token(claims).split(".")
    other = _claims(shared) | {"sub": "root"}
    forged = [
        jwt.encode(claims, Ed25519PrivateKey.generate(), "EdDSA", headers={"kid": forger.name}),
        jwt.encode(claims, "", "none", headers={"kid": forger.name}),
        jwt.encode(claims, public, "HS256", headers={"kid": forger.name}),
        forger.token(claims, kid="other"),
        f"{_part({'alg': 'EdDSA', 'typ': 'JWT', 'kid': 5})}.{body}.{signature}",
        f"{_part({'alg': 'EdDSA', 'typ': 'JWT'})}.{body}.{signature}",
        forger.token(claims, typ="at+jwt"),
        forger.token(claims, crit=["x"], x=1),
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body}.{signature}.{signature}",
        f"{head}.{_part(other)}.{signature}",
        f"{head}.{body}.{signature}" + "x" * 8192,
    ]
    for token in forged:
        problem(shared.call("GET", "/api/servers", token=token), 401)


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


NO_IDS = ("x", "0", "-", "%00", "%2e%2e", str(uuid.UUID(int=0)), "' OR 1=1 --", "\u0661" * 8, "x" * 5000)


def test_an_id_that_is_none_or_unknown_is_a_404(service: Service) -> None:
    """On every operation with an id, whatever stands in its place; another spelling of an id is another id."""
    server = service.create()["id"]
    token = service.token()
    for operation in access_table.operations(service):
        method, path = operation.split()
        for wrong in (*NO_IDS, server.replace("-", ""), server.upper(), f"{{{server}}}"):
            if "{id}" in path:
                body: dict[str, Any] | None = {} if method in {"POST", "PUT"} else None
                answer = service.call(method, path.replace("{id}", wrong), token=token, json=body)
                assert problem(answer, 404, "not_found")["detail"] in {
                    "There is no such server.",
                    "There is no such run.",
                    "There is no such batch.",
                    "There is no such webhook.",
                }


@pytest.mark.promise("A2")
def test_another_organization_s_thing_is_told_like_one_that_is_not_there(service: Service) -> None:
    """The 404 for a stranger's server is the one for a server that never was, but for the request's id."""
    server = service.create()["id"]
    stranger = service.token(organization="two")
    theirs = service.call("GET", f"/api/servers/{server}", token=stranger).json()
    none = service.call("GET", f"/api/servers/{new_id()}", token=stranger).json()
    assert theirs | {"requestId": ""} == none | {"requestId": ""}


@pytest.mark.promise("A2")
def test_a_run_of_another_server_is_not_found_by_a_server_s_id(service: Service) -> None:
    """Ids of servers and of runs are not taken for each other."""
    server = service.create()["id"]
    run = service.runs(server)[0]["id"]
    problem(service.call("GET", f"/api/servers/{run}"), 404)
    problem(service.call("GET", f"/api/runs/{server}"), 404)
