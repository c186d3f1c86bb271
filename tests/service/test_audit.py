"""The audit log: every change is in it with who made it, in the change's own transaction, and no secret is."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlmodel import select

import ocore
from api.data.locks import lock_server
from api.data.tables import AuditEntry, ServerStatus, now
from api.service import runs, servers
from api.service.scope import Scope
from api.work.claims import claim
from api.work.outcome import Done, finish
from api.work.owner import new_owner
from api.work.recorder import RowRecorder
from api.work.upkeep.monitor import Monitor
from api.work.upkeep.sweeper import Sweeper
from api.work.upkeep.tidier import tidy
from ocore.cli import main
from tests.service import access_table
from tests.service.problems import problem
from tests.service.support import recording, wait_for
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from sqlmodel import Session

    from tests.service.support import Service

# What is alike on every storage is tried on one.
SQLITE = pytest.mark.parametrize("storage", ["sqlite"])
WATCHED = {"server.active", "server.error", "server.unreachable", "server.removed"}
# What changes nothing of an organization's, each with the reason.
NOT_AUDITED = {
    "POST /api/agent/heartbeat": "a sign of life, which changes nothing that anybody decided",
    "POST /api/servers/{id}/agent-token": "not in a service without agents; `test_agents.py` has a test of its entry",
}


def entries(service: Service, **query: str) -> list[dict[str, Any]]:
    """Return entries, newest first."""
    answer = service.call("GET", "/api/audit", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


def actions(service: Service, **query: str) -> list[str]:
    """Return what was done, newest first."""
    return [one["action"] for one in entries(service, **query)]


def test_every_changing_operation_leaves_an_entry(service: Service) -> None:
    """Each operation of the document that is no GET: with the token's subject and id, and the request's id."""
    changing = [one for one in access_table.operations(service) if not one.startswith("GET ")]
    assert len(changing) > 5
    token = service.token()
    caller, _ = service.parts.tokens.read(token)
    for number, operation in enumerate(one for one in changing if one not in NOT_AUDITED):
        call = access_table.prepared(service, operation)
        request = f"request-{number:04}"
        headers = {"X-Request-ID": request}
        answer = service.call(call.method, call.path, token=token, json=call.body, headers=headers)
        assert answer.status_code < 300, (operation, answer.text)
        found = [one for one in entries(service) if one["actor"]["requestId"] == request]
        # What follows for the server is watched where it is written; the operation has an entry of its own.
        assert {one["action"] for one in found} - WATCHED, operation
        actor = {"kind": "token", "name": "tester", "tokenId": caller.token, "requestId": request}
        assert all(one["actor"] == actor and one["object"]["id"] for one in found), operation


@SQLITE
def test_a_request_that_fails_leaves_none(service: Service) -> None:
    """Nothing was changed, so nothing is written: the entry goes with the transaction."""
    made = service.create()
    before = entries(service)
    problem(service.call("POST", "/api/servers", json=service.body(name=made["name"])), 409)
    problem(service.call("PUT", f"/api/servers/{made['id']}", json={"port": 0}), 422)
    viewer = service.token(["view:servers"])
    problem(service.call("PUT", f"/api/servers/{made['id']}", json={"name": "x"}, token=viewer), 403)

    def fail_late(session: Session) -> None:
        servers.remove(service.parts, Scope(session, service.organization()), made["id"], "somebody")
        raise RuntimeError

    with pytest.raises(RuntimeError), service.parts.database.write() as session:
        fail_late(session)
    assert entries(service) == before


@SQLITE
def test_changes_are_named_and_secrets_are_not_shown(service: Service) -> None:
    """Of a field before and after, of a secret only that it was given; what stayed is not named."""
    key = private_key("ed25519")
    made = service.create(name="one", host="192.0.2.9", sshPassword="s3cret-before")
    service.call("PUT", f"/api/servers/{made['id']}", json={"name": "two", "port": 22, "sshPassword": "s3cret-after"})
    service.call("PUT", f"/api/servers/{made['id']}", json={"sshPrivateKey": key})
    third, second, first = entries(service, server=made["id"])
    assert {"field": "host", "before": None, "after": "192.0.2.9"} in first["changes"]
    assert [one["field"] for one in second["changes"]] == ["name", "sshPassword"]
    assert {"field": "name", "before": "one", "after": "two"} in second["changes"]
    assert third["changes"] == [{"field": "sshPrivateKey", "before": None, "after": None}]
    told = json.dumps([first, second, third])
    assert "s3cret" not in told
    assert "PRIVATE KEY" not in told
    assert [one["object"]["name"] for one in (third, second, first)] == ["two", "two", "one"]


def test_what_the_service_does_itself_is_told(service: Service) -> None:
    """The pinned key, the states, and at last the removal, with what stayed; the entries outlive the server."""
    made = service.create()["id"]
    with service.worker(recording("bare")):
        service.until(made, "active")
    with service.worker(recording("cleaned")):
        service.call("DELETE", f"/api/servers/{made}")
        wait_for(lambda: service.call("GET", f"/api/servers/{made}").status_code == 404, "it is gone")
    found = entries(service, server=made)
    assert [one["action"] for one in reversed(found)] == [
        "server.create",
        "server.pin-host-key",
        "server.active",
        "server.delete",
        "server.removed",
    ]
    assert {one["actor"]["kind"] for one in found if one["action"] in {"server.active", "server.removed"}} == {
        "service"
    }
    assert "kept" in found[0]["detail"].lower() or "stay" in found[0]["detail"].lower(), found[0]["detail"]
    assert found[3]["detail"].startswith("SHA256:")


@SQLITE
def test_the_monitor_s_changes_are_told(service: Service) -> None:
    """Away, back, and another key than the pinned one: each with its words."""
    made = service.create()["id"]
    service.set(made, status=ServerStatus.ACTIVE, misses=service.settings.monitor_misses - 1)
    monitor = Monitor(service.parts, new_owner())
    away = ocore.Failure(ocore.ErrorCode.CONNECT_TIMEOUT, "It did not answer.")
    key = ocore.HostKey.parse("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8R3Hq3pN1o7wq8O9Pj1tqZl2L0w5i1m8yqV6x0o3cW")
    changed = ocore.Failure(ocore.ErrorCode.HOST_KEY_CHANGED, "Another key.")
    for found in (away, key, changed):
        with service.parts.database.write() as session:
            row = lock_server(session, made)
            assert row is not None
            monitor._note(row, found)  # noqa: SLF001 - what a probe ends with
    told = [(one["action"], one["detail"]) for one in entries(service, server=made)[:3]]
    assert [action for action, _ in told] == ["server.error", "server.active", "server.unreachable"]
    assert told[0][1].startswith("Another key.")
    assert told[2][1].startswith("It did not answer.")


def test_a_removal_without_a_clean_up_says_so(service: Service) -> None:
    """Its worker was lost too often: the server is gone, and the log says that it was not cleaned."""
    made = service.create()["id"]
    service.call("DELETE", f"/api/servers/{made}")
    taken = claim(service.parts.database, new_owner(), service.settings)
    assert taken is not None
    service.set_runs(made, attempt=9, lease_owner="another-machine/1/1/1", lease_until=now() - timedelta(hours=1))
    Sweeper(service.parts, new_owner()).sweep()
    found = entries(service, server=made)[0]
    assert found["action"] == "server.removed"
    assert found["detail"].startswith("It was not cleaned up.")


@SQLITE
def test_a_run_s_end_is_told_once(service: Service) -> None:
    """A failure that leaves the state as it is, is no change of it; one that was put back leaves none."""
    made = service.create()["id"]
    failure = ocore.Failure(ocore.ErrorCode.AUTH_DENIED, "No.")
    for _ in range(2):
        taken = claim(service.parts.database, new_owner(), service.settings)
        assert taken is not None
        finish(service.parts, taken, RowRecorder(service.parts, taken), Done(failure), "")
        service.call("POST", f"/api/servers/{made}/retry")
    assert actions(service, server=made) == ["server.retry", "server.error"] * 2 + ["server.create"]


@SQLITE
@pytest.mark.promise("A2")
def test_another_organization_sees_nothing_of_it(service: Service) -> None:
    """Each sees its own, and what is about the service as a whole."""
    made = service.create()["id"]
    stranger = service.token(organization="two")
    assert service.call("GET", "/api/audit", token=stranger, params={"server": made}).json()["entries"] == []
    assert service.call("GET", "/api/audit", token=stranger).json()["entries"] == []


def test_pages_lead_through_all_of_it(service: Service) -> None:
    """Newest first, each entry once; the link keeps the filter."""
    made = service.create()["id"]
    for number in range(4):
        service.call("PUT", f"/api/servers/{made}", json={"description": str(number)})
    service.create()
    found, at = [], f"/api/audit?limit=2&server={made}"
    while at:
        answer = service.call("GET", at)
        found += [one["id"] for one in answer.json()["entries"]]
        at = answer.links.get("next", {}).get("url", "")
    assert found == [one["id"] for one in entries(service, server=made)]
    assert len(found) == 5
    assert actions(service, action="server.update") == ["server.update"] * 4


def test_commands_are_told(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who made an organization, issued and took back tokens, and exchanged keys; the token itself is not in it."""
    for name, value in service.settings.model_dump(include={"home", "database_url", "queue_url"}).items():
        monkeypatch.setenv(f"OCORE_{name.upper()}", str(value))
    assert main(["org", "create", "three", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)["id"]
    assert main(["token", "issue", "--org", "three", "--subject", "robot", "--json"]) == 0
    issued = json.loads(capsys.readouterr().out)
    assert main(["token", "revoke", issued["id"]]) == 0
    for words in (["rotate", "token", "--prepare"], ["rotate", "token"], ["drop", "encryption"]):
        assert main(["keys", *words]) == 0
    (service.settings.home / "receipt-keys.json").unlink()
    assert main(["keys", "create", "receipt"]) == 0
    service.organizations["three"] = whole
    answer = service.call("GET", "/api/audit", token=service.token(organization="three"))
    found = answer.json()["entries"]
    assert [(one["action"], one["object"]["name"]) for one in reversed(found)] == [
        ("org.create", "three"),
        ("token.issue", "robot"),
        ("token.revoke", "robot"),
        ("keys.prepare", "token"),
        ("keys.rotate", "token"),
        ("keys.drop", "encryption"),
        ("keys.create", "receipt"),
    ]
    assert {one["actor"]["kind"] for one in found} == {"command"}
    assert issued["token"] not in answer.text


def test_old_entries_are_let_go(service: Service) -> None:
    """After `audit_days`, and not before."""
    service.create()
    service.create()
    age = timedelta(days=service.settings.audit_days)
    with service.parts.database.write() as session:
        first, second = session.exec(select(AuditEntry).order_by(AuditEntry.id)).all()  # type: ignore[arg-type]
        first.at, second.at = now() - age - timedelta(hours=1), now() - age + timedelta(hours=1)
        kept = second.id
        session.add_all([first, second])
    tidy(service.parts)
    assert [one["id"] for one in entries(service)] == [kept]


@SQLITE
def test_a_cancelled_run_that_never_began_is_told_with_its_server_s_state(service: Service) -> None:
    """The same request changes the run and the server: both entries name who asked for it."""
    made = service.create()["id"]
    [run] = service.runs(made)
    with service.parts.database.write() as session:
        runs.cancel(Scope(session, service.organization()), run["id"], "x")
    assert set(actions(service, server=made)) == {"server.create", "run.cancel", "server.error"}
