"""API.md's table of request fields, row by row, and every other way in which a request can be wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import select

import ocore
from api.data.tables import Run, Server
from api.errors import Problem
from api.service.mapping import library_server
from api.settings import Settings
from api.web import events
from tests.service.problems import pointers, problem, send
from tests.service.support import UNLIMITED, opened
from tests.unit.keymaker import PASSPHRASE, private_key, public_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from tests.service.support import Service

KEY = private_key("ed25519")
PUTTY = "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: x\n"
NOT_UNICODE = ["a\0b", "\0", "a\ud800b", "\udfff"]
# A credential that is there goes with the method key; with these a password server is made.
BY_PASSWORD: dict[str, Any] = {"authMethod": "password", "sshPrivateKey": None}

# For each field: what is taken, with how it comes back.
GOOD: dict[str, list[tuple[Any, Any]]] = {
    "name": [
        ("x", "x"),
        ("  a b\t", "a b"),
        ("x" * 100, "x" * 100),
        (" " + "y" * 100 + " ", "y" * 100),
        ("ü 𐍈 {{ x }} '\"", "ü 𐍈 {{ x }} '\""),
    ],
    "host": [
        ("192.0.2.77", "192.0.2.77"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::2]", "2001:db8::2"),
        ("Example.COM", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("a-b.c1", "a-b.c1"),
        (".".join(["a" * 63] * 3), ".".join(["a" * 63] * 3)),
    ],
    "port": [(1, 1), (22, 22), (65535, 65535)],
    "sshUser": [(one, one) for one in ("a", "_x", "deploy-1.b_c", "a" * 64)],
    "maxSshSessions": [(1, 1), (50, 50)],
    "description": [
        ("", ""),
        ("x" * 1000, "x" * 1000),
        (" two\nlines\t{{ x }} ü𐍈 ", " two\nlines\t{{ x }} ü𐍈 "),
    ],
    "proxyType": [(one, one) for one in ("caddy", "nginx", "traefik", "none")],
}
# For each field: what is refused. A host is also refused by the library's own tests.
BAD: dict[str, list[Any]] = {
    "name": ["", "  ", "x" * 101, "a\nb", "a\x1bb", "a\u202eb", *NOT_UNICODE, None, 5, ["x"], {}],
    "host": [
        *["", "http://h", "ssh://root@h", "h:22", "192.0.2.1:22", "root@h", "h/x", "h x", " h", "h\n", "'h'", '"h"'],
        *["{{ h }}", "-h", "-oProxyCommand=x", "h;id", "$(id)", "h,g", "h%25", "h\\g", "a_b", "a..b", ".a", "a-.b"],
        *["127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.2.3.256", "192.0.2", "192.0.2.1."],
        *["\uff11\uff12\uff17.0.0.1", "fe80::1%eth0", "[::1", "::1]", "[192.0.2.1]", "1::2::3", "x" * 256, "a" * 64],
        *[*NOT_UNICODE, None, 5, ["h"], {}],
    ],
    "port": [0, -1, 65536, 2**70, True, False, "22", 22.5, None, [22]],
    "sshUser": [
        *["", "Root", "1a", "-l", ".a", "a b", "a@h", "a:b", "a/b", "a$", "a" * 65, "ü", "a\n"],
        *[*NOT_UNICODE, None, 5, ["a"]],
    ],
    "authMethod": ["", "KEY", "agent", None, 5, ["key"]],
    "sshPrivateKey": [" ", "x", 5, True, ["x"], KEY + "x" * 16384, *NOT_UNICODE],
    "sshPassword": ["x" * 1025, "a\nb", "a\rb", *NOT_UNICODE, 5, True, ["x"]],
    "maxSshSessions": [0, -1, 51, True, "5", 1.5, None],
    "description": ["x" * 1001, *NOT_UNICODE, None, 5],
    "proxyType": ["", "apache", "Caddy", 5, ["caddy"]],
}
KEYS = [
    (public_key(), "is a public key"),
    (public_key("rsa"), "is a public key"),
    (PUTTY, "is a PuTTY key"),
    (private_key("dsa", "TraditionalOpenSSL"), "is a DSA key"),
    (private_key("rsa1024"), "1024 bits; at least 2048"),
    (private_key("ed25519", "OpenSSH", PASSPHRASE), "is protected by a passphrase"),
    (KEY[:200], "is damaged"),
    (KEY + "x" * 16384, "is larger than 16 KiB"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return one service for all tests of what is answered alike, whatever the storage is."""
    with opened(Settings(home=tmp_path_factory.mktemp("home"), monitor=False, **UNLIMITED)) as found:
        yield found


def rows(service: Service) -> tuple[int, int]:
    """Return how many servers and runs there are."""
    with service.parts.database.read() as session:
        return len(session.exec(select(Server.id)).all()), len(session.exec(select(Run.id)).all())


def stored(service: Service, server: str) -> dict[str, Any]:
    """Return everything that is stored of a server."""
    with service.parts.database.read() as session:
        return session.exec(select(Server).where(Server.id == server)).one().model_dump()


@pytest.mark.parametrize("field", GOOD)
def test_a_good_value_is_taken_and_comes_back_in_its_normal_form(service: Service, field: str) -> None:
    """On creation and on update, the answer and what is read later have the value in its normal form."""
    at = f"/api/servers/{service.create()['id']}"
    for given, normal in GOOD[field]:
        other = service.create(**{field: given})
        assert other[field] == service.get(other["id"])[field] == normal, given
        # A name and an address are one server's.
        service.call("PUT", f"/api/servers/{other['id']}", json={"name": f"moved-{other['id']}", "port": 2222})
        answer = service.call("PUT", at, json={field: given})
        assert answer.status_code == 200, (given, answer.text)
        assert answer.json()[field] == service.get(at.rpartition("/")[2])[field] == normal, given


@pytest.mark.parametrize("field", BAD)
def test_a_bad_value_is_refused_by_name_and_changes_nothing(service: Service, field: str) -> None:
    """On creation and on update, the 422 names this field alone; no row is made, none is changed."""
    server = service.create()["id"]
    before, row = rows(service), stored(service, server)
    for given in BAD[field]:
        body = service.body() | {field: given}
        assert pointers(send(service, "POST", "/api/servers", body)) == [f"/{field}"], given
        assert pointers(send(service, "PUT", f"/api/servers/{server}", {field: given})) == [f"/{field}"], given
    assert (rows(service), stored(service, server)) == (before, row)


def test_a_proxy_that_is_not_named_is_the_configured_one(shared: Service) -> None:
    """Absent and null mean the setting on creation; on update null is no proxy."""
    made = shared.create()
    assert made["proxyType"] == shared.settings.proxy
    answer = send(shared, "POST", "/api/servers", shared.body() | {"proxyType": None})
    assert answer.json()["proxyType"] == shared.settings.proxy
    assert pointers(send(shared, "PUT", f"/api/servers/{made['id']}", {"proxyType": None})) == ["/proxyType"]


@pytest.mark.parametrize("field", ["name", "host"])
def test_a_required_field_must_be_there(shared: Service, field: str) -> None:
    """Without it, the 422 says that it is required."""
    body = shared.body()
    del body[field]
    answer = shared.call("POST", "/api/servers", json=body)
    assert pointers(answer) == [f"/{field}"]
    assert answer.json()["errors"][0]["rule"] == "is required"


def test_every_broken_rule_is_told_at_once(shared: Service) -> None:
    """A form can be mended in one go: each wrong field is named."""
    body = shared.body(name="", port=0, sshUser="-l", maxSshSessions=51)
    found = pointers(shared.call("POST", "/api/servers", json=body))
    assert sorted(found) == ["/maxSshSessions", "/name", "/port", "/sshUser"]


@pytest.mark.parametrize(("method", "wrong"), [("key", "sshPrivateKey"), ("password", "sshPassword")])
@pytest.mark.parametrize("empty", ["absent", None, ""])
def test_a_method_needs_its_credential(shared: Service, method: str, wrong: str, empty: str | None) -> None:
    """Null and empty credentials are none, so the method's own one is missing."""
    before = rows(shared)
    body = shared.body(sshPrivateKey=None) | {"authMethod": method}
    if empty != "absent":
        body |= {"sshPrivateKey": empty, "sshPassword": empty}
    answer = send(shared, "POST", "/api/servers", body)
    assert pointers(answer) == [f"/{wrong}"]
    assert answer.json()["errors"][0]["rule"] == f"is required with authMethod {method}"
    assert rows(shared) == before


def test_a_key_does_not_go_with_the_method_password(shared: Service) -> None:
    """It would never be used, so it is refused, on creation and on update."""
    answer = shared.call("POST", "/api/servers", json=shared.body(authMethod="password", sshPassword="p"))
    assert pointers(answer) == ["/sshPrivateKey"]
    made = shared.create(**BY_PASSWORD, sshPassword="p")
    assert pointers(shared.call("PUT", f"/api/servers/{made['id']}", json={"sshPrivateKey": KEY})) == ["/sshPrivateKey"]


def test_a_password_beside_a_key_is_sudo_s(service: Service) -> None:
    """Both are stored, and neither is in any answer."""
    made = service.create(sshPassword="for sudo")
    row = stored(service, made["id"])
    assert row["sealed_password"]
    assert row["sealed_private_key"]
    assert b"for sudo" not in row["sealed_password"]
    assert not {"sshPassword", "sshPrivateKey"} & (made | service.get(made["id"])).keys()


@pytest.mark.parametrize("password", [" ", " a ", "{{ x }}", "'\"$`\\", "\t", "ü𐍈", "x" * 1024])
def test_a_password_is_kept_verbatim(shared: Service, password: str) -> None:
    """What is sealed is exactly what was sent."""
    server = shared.create(**BY_PASSWORD, sshPassword=password)["id"]
    assert _opened(shared, server).credentials.password == password


def _opened(service: Service, server: str) -> ocore.Server:
    with service.parts.database.read() as session:
        row = session.exec(select(Server).where(Server.id == server)).one()
    found = library_server(row, service.parts.seal)
    assert isinstance(found, ocore.Server)
    return found


@pytest.mark.promise("F21")
@pytest.mark.parametrize(("key", "words"), KEYS, ids=[words for _, words in KEYS])
def test_a_key_that_cannot_work_is_refused_in_its_own_words(shared: Service, key: str, words: str) -> None:
    """On creation and on update, the 422 says what is wrong with this key, and repeats nothing of it."""
    server = shared.create()["id"]
    before, row = rows(shared), stored(shared, server)
    for answer in (
        shared.call("POST", "/api/servers", json=shared.body(sshPrivateKey=key)),
        shared.call("PUT", f"/api/servers/{server}", json={"sshPrivateKey": key}),
    ):
        assert pointers(answer) == ["/sshPrivateKey"]
        assert words in answer.json()["errors"][0]["rule"]
        assert key.strip().splitlines()[-1][:20] not in answer.text
    assert (rows(shared), stored(shared, server)) == (before, row)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_good_key_is_taken_and_harmless_damage_mended(shared: Service, kind: str) -> None:
    """OpenSSH and PEM, with line ends of another system and without the last one: stored as OpenSSH has it."""
    for text in (private_key(kind), private_key(kind, "PKCS8").replace("\n", "\r\n"), private_key(kind).strip()):
        key = _opened(shared, shared.create(sshPrivateKey=text)["id"]).credentials.private_key
        assert key is not None
        assert key.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
        assert key.endswith("-----END OPENSSH PRIVATE KEY-----\n")


@pytest.mark.parametrize(
    "name",
    ["x", "ssh_user", "id", "status", "organizationId", "a/b~c", "", "\0", "\ud800", "constructor"],
)
def test_a_key_that_is_no_field_is_refused(shared: Service, name: str) -> None:
    """On every operation that takes a body; the 422 names it by its JSON pointer."""
    server = shared.create()["id"]
    before, row = rows(shared), stored(shared, server)
    bodies: dict[tuple[str, str], dict[str, Any]] = {
        ("POST", "/api/servers"): shared.body(),
        ("PUT", f"/api/servers/{server}"): {"description": "changed"},
        ("POST", f"/api/servers/{server}/reset-host-key"): {},
        ("POST", f"/api/servers/{server}/runs"): {},
    }
    escaped = name.replace("~", "~0").replace("/", "~1")
    for (method, path), body in bodies.items():
        [found] = pointers(send(shared, method, path, body | {name: 1}))
        # What cannot be written in UTF-8 has no pointer: the body as a whole is refused.
        assert found == ("" if name == "\ud800" else f"/{escaped}")
    assert (rows(shared), stored(shared, server)) == (before, row)


@pytest.mark.promise("A2")
def test_names_and_addresses_are_unique_in_an_organization(service: Service) -> None:
    """A second server with the name, or with host and port in any spelling, is a 409 with its own code."""
    made = service.create(name="one", host="2001:db8::9", port=2200)
    other = service.create()
    before = rows(service)

    def refused(code: str, **fields: Any) -> None:
        problem(service.call("POST", "/api/servers", json=service.body(**fields)), 409, code)
        problem(service.call("PUT", f"/api/servers/{other['id']}", json=fields), 409, code)

    refused("name_taken", name=" one ")
    refused("address_taken", host="[2001:DB8:0::9]", port=2200)
    assert rows(service) == before
    assert service.get(other["id"])["updatedAt"] == other["updatedAt"]
    # Its own name and address are no conflict, another port and another organization are none either.
    own = {"name": "one", "host": "2001:db8::9", "port": 2200}
    assert service.call("PUT", f"/api/servers/{made['id']}", json=own).status_code == 200
    assert service.create(host="2001:db8::9", port=2201)
    assert service.create(organization="two", **own)


def test_an_update_changes_what_it_names_and_nothing_else(service: Service) -> None:
    """What is absent stays; an empty update changes nothing but `updatedAt`."""
    made = service.create(description="d", port=2200, sshUser="admin", maxSshSessions=7, proxyType="nginx")
    service.set(made["id"], status="active")
    before = stored(service, made["id"])
    for given, column in (
        ({"name": "other"}, "name"),
        ({"description": ""}, "description"),
        ({"maxSshSessions": 1}, "max_ssh_sessions"),
        ({}, ""),
        ({"sshPassword": "", "sshPrivateKey": None}, ""),
    ):
        assert service.call("PUT", f"/api/servers/{made['id']}", json=given).status_code == 200
        after = stored(service, made["id"])
        assert {name for name in after if after[name] != before[name]} <= {column, "updated_at"}, given
        assert not column or after[column] != before[column]
        before = after


def test_switching_the_method_needs_its_credential_in_the_call_or_stored(service: Service) -> None:
    """To password with one given or stored; back to the key that is still stored."""
    server = service.create()["id"]
    path = f"/api/servers/{server}"
    before = stored(service, server)
    assert pointers(service.call("PUT", path, json={"authMethod": "password"})) == ["/sshPassword"]
    assert pointers(service.call("PUT", path, json={"authMethod": "password", "sshPassword": ""})) == ["/sshPassword"]
    assert stored(service, server) == before
    answer = service.call("PUT", path, json={"authMethod": "password", "sshPassword": "p"})
    assert answer.json()["authMethod"] == "password"
    assert _opened(service, server).credentials.password == "p"
    assert service.call("PUT", path, json={"authMethod": "key"}).json()["authMethod"] == "key"
    assert _opened(service, server).credentials.sudo_password == "p"
    assert service.call("PUT", path, json={"authMethod": "password"}).json()["authMethod"] == "password"

    made = service.create(**BY_PASSWORD, sshPassword="p")["id"]
    answer = service.call("PUT", f"/api/servers/{made}", json={"authMethod": "key"})
    assert pointers(answer) == ["/sshPrivateKey"]


@pytest.mark.parametrize("body", ["[]", '"x"', "5", "true", "null", "[{}]"])
def test_a_body_must_be_an_object(shared: Service, body: str) -> None:
    """Other JSON is a 422 that says so."""
    server = shared.create()["id"]
    for method, path in _with_body(server):
        if body == "null" and path.endswith("reset-host-key"):
            continue  # whose body may be absent
        answer = _raw(shared, method, path, body.encode())
        told = problem(answer, 422, "invalid")
        assert told["errors"] == [{"pointer": "", "rule": "must be a JSON object"}]


@pytest.mark.parametrize(
    "body",
    [b"{", b"x", b'{"name": }', b"\xff\xfe", b'{"name": "\xff"}', b"[" * 30000, b'{"port": ' + b"1" * 5000 + b"}"],
    ids=["cut", "word", "no value", "bytes", "no UTF-8", "deep", "a number of 5000 digits"],
)
def test_what_is_no_json_is_a_400(shared: Service, body: bytes) -> None:
    """Text, bytes, depths and numbers that cannot be read are refused alike."""
    server = shared.create()["id"]
    for method, path in _with_body(server):
        problem(_raw(shared, method, path, body), 400, "malformed")


def _with_body(server: str) -> Iterator[tuple[str, str]]:
    yield "POST", "/api/servers"
    yield "PUT", f"/api/servers/{server}"
    yield "POST", f"/api/servers/{server}/reset-host-key"
    yield "POST", f"/api/servers/{server}/runs"


def _raw(service: Service, method: str, path: str, body: bytes, kind: str = "application/json") -> httpx2.Response:
    return service.call(method, path, content=body, headers={"Content-Type": kind} if kind else {})


def test_a_body_may_have_64_kib(service: Service) -> None:
    """One byte more is a 413, whether its length is announced or not."""
    body = json.dumps(service.body()).encode().ljust(65536)
    assert _raw(service, "POST", "/api/servers", body).status_code == 201
    other = json.dumps(service.body()).encode().ljust(65537)
    problem(_raw(service, "POST", "/api/servers", other), 413, "too_large")
    pieces = (other[at : at + 4096] for at in range(0, len(other), 4096))
    answer = service.call("POST", "/api/servers", content=pieces, headers={"Content-Type": "application/json"})
    problem(answer, 413, "too_large")
    assert rows(service)[0] == 1


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x/y+json"]
)
def test_a_body_must_be_declared_as_json(shared: Service, kind: str) -> None:
    """So no page of another site can send one without asking first."""
    before = rows(shared)
    answer = _raw(shared, "POST", "/api/servers", json.dumps(shared.body()).encode(), kind)
    problem(answer, 415, "unsupported_media_type")
    assert rows(shared) == before


def test_json_may_be_declared_in_any_spelling(shared: Service) -> None:
    """Case and parameters of the media type do not matter."""
    for kind in ("Application/JSON", "application/json; charset=utf-8", "application/json ;x=y"):
        answer = _raw(shared, "POST", "/api/servers", json.dumps(shared.body()).encode(), kind)
        assert answer.status_code == 201, kind


@pytest.mark.parametrize(
    "path", ["/", "/x", "/api/x", "/api/servers/a/b/c", "/api//servers", "/api/servers/", "/api/runs/", "/api/%00"]
)
def test_an_unknown_path_is_a_404(shared: Service, path: str) -> None:
    """It is told like every other error."""
    problem(shared.call("GET", path), 404, "not_found")


def test_a_wrong_method_is_a_405(shared: Service) -> None:
    """The answer says which methods there are."""
    server = shared.create()["id"]
    for method, path, allowed in (
        ("PATCH", "/api/servers", {"GET", "POST"}),
        ("POST", f"/api/servers/{server}", {"GET", "PUT", "DELETE"}),
        ("GET", f"/api/servers/{server}/retry", {"POST"}),
        ("DELETE", "/health/live", {"GET"}),
    ):
        answer = shared.call(method, path)
        problem(answer, 405, "method_not_allowed")
        assert set(answer.headers["Allow"].split(", ")) == allowed


def test_a_bad_parameter_is_refused_by_name(service: Service) -> None:
    """The list's parameters are checked like fields, also those that one storage would take and the other not."""
    bad = {
        "limit": ["0", "501", "x", "1e2", "1" * 30],
        "status": ["gone", ""],
        "q": ["x" * 101, "a%00b", "%00"],
        "cursor": ["x", "%00", "x" * 37],
    }
    for field, values in bad.items():
        for value in values:
            assert pointers(service.call("GET", f"/api/servers?{field}={value}")) == [f"/{field}"], value


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "1" * 5000, "1, 2"])
def test_a_last_event_id_must_be_a_number(shared: Service, given: str) -> None:
    """The 422 has the header's name."""
    run = shared.runs(shared.create()["id"])[0]["id"]
    answer = shared.call("GET", f"/api/runs/{run}/events", headers={"Last-Event-ID": given})
    assert "Last-Event-ID" in problem(answer, 422, "invalid")["detail"]


@pytest.mark.parametrize("given", ["\u00b2", "\u0661", "1" * 10])
def test_a_last_event_id_has_plain_digits(given: str) -> None:
    """Other digits are none to int(): no client of ours sends them, and no test client can."""
    with pytest.raises(Problem):
        events.position(given)
    assert events.position("7") == 7


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"kind": "cleanup"}, ["/kind"]),
        ({"kind": None}, ["/kind"]),
        ({"force": 1}, ["/force"]),
        ({"steps": "docker"}, ["/steps"]),
        ({"steps": [5]}, ["/steps/0"]),
        ({"steps": ["docker", "connect", "\ud800"]}, ["/steps/1", "/steps/2"]),
        ({"steps": ["docker"] * 51}, ["/steps"]),
        ({"kind": "validate", "force": True, "steps": ["docker"]}, ["/force", "/steps"]),
    ],
)
def test_what_a_run_cannot_do_is_refused_by_name(shared: Service, body: dict[str, Any], found: list[str]) -> None:
    """Kinds, steps and their combinations follow their rules; no run is queued."""
    server = shared.create()["id"]
    shared.set(server, status="active")
    shared.set_runs(server, state="succeeded")
    assert pointers(send(shared, "POST", f"/api/servers/{server}/runs", body)) == found
    assert len(shared.runs(server)) == 1


@pytest.mark.parametrize("given", ["", "x", "MD5:" + "a" * 43, "SHA256:" + "a" * 42, "SHA256:" + "-" * 43, 5])
def test_an_expected_fingerprint_must_be_one(shared: Service, given: object) -> None:
    """The pin stays where the fingerprint is refused."""
    server = shared.create()["id"]
    before = stored(shared, server)
    answer = send(shared, "POST", f"/api/servers/{server}/reset-host-key", {"expectedFingerprint": given})
    assert pointers(answer) == ["/expectedFingerprint"]
    assert stored(shared, server) == before


def test_what_nobody_expected_tells_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of our own code is a 500 without its words; the request's id finds it in the log."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr("api.service.servers.listed", broken)
    answer = service.call("GET", "/api/servers", headers={"X-Request-ID": "for-the-log"})
    assert problem(answer, 500, "internal")["requestId"] == "for-the-log"
    assert "secret" not in answer.text


@pytest.mark.promise("A14")
def test_the_log_of_what_nobody_expected_has_no_secrets(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception is logged with where it was raised, and without the variables of those places."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("api.service.servers.create", broken)
    body = service.body(sshPassword="correct-horse-battery")
    problem(service.call("POST", "/api/servers", json=body), 500, "internal")
    written = "".join(capsys.readouterr())
    assert "on purpose" in written
    assert "correct-horse" not in written
    assert KEY[60:100] not in written


@pytest.mark.promise("F5")
def test_a_database_that_does_not_answer_is_a_503(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer says when to try again, and nothing about the database."""

    def broken(*_: object, **__: object) -> None:
        raise OperationalError("SELECT the secret", {}, Exception("of the house"))

    monkeypatch.setattr("api.service.servers.listed", broken)
    answer = service.call("GET", "/api/servers")
    problem(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "house" not in answer.text
