"""Idempotency-Key: every POST is carried out once for a key, however often and at however many times it is sent."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlmodel import select

from api.data.tables import Answer, Run, RunState, Server, ServerStatus
from tests.service import access_table
from tests.service.problems import problem

if TYPE_CHECKING:
    import httpx2

    from tests.service.support import Service

# POSTs that are not of an organization's caller: what is made of them is made by the sender's own token.
NOT_OF_AN_ORGANIZATION = {"POST /api/agent/heartbeat"}
# Possible only in a service with agents; `test_agents.py` has its own test of it.
WITH_AGENTS = "POST /api/servers/{id}/agent-token"
MANY = 20


def _posts(service: Service) -> list[str]:
    return [
        operation
        for operation in access_table.operations(service)
        if operation.startswith("POST /api/") and operation not in NOT_OF_AN_ORGANIZATION
    ]


def _rows(service: Service) -> tuple[int, int]:
    with service.parts.database.read() as session:
        return len(session.exec(select(Server.id)).all()), len(session.exec(select(Run.id)).all())


def _at_once(service: Service, path: str, headers: dict[str, str], **what: Any) -> list[httpx2.Response]:
    """Send equal requests from many threads, and return the answers as they came."""
    token, answers, start = service.token(), list[Any](), threading.Barrier(MANY)

    def ask() -> None:
        start.wait()
        answers.append(service.call("POST", path, token=token, headers=headers, **what))

    threads = [threading.Thread(target=ask) for _ in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.promise("A16")
def test_every_post_is_carried_out_once(service: Service) -> None:
    """The second answer is the first one and says so, nothing is done again, and the key is bound to the request."""
    operations = access_table.operations(service)
    assert len(_posts(service)) >= 5
    for number, operation in enumerate(_posts(service)):
        names = [one["name"] for one in operations[operation]["parameters"]]
        assert "idempotency-key" in names, operation
        call = access_table.prepared(service, operation)
        headers = {"Idempotency-Key": f"key-{number}"}
        first = service.call(call.method, call.path, json=call.body, headers=headers)
        if operation == WITH_AGENTS:
            problem(first, 409, "no_agent")
            continue
        assert first.is_success, first.text
        assert "Idempotency-Replayed" not in first.headers
        before = _rows(service)
        again = service.call(call.method, call.path, json=call.body, headers=headers)
        assert (again.status_code, again.json()) == (first.status_code, first.json()), operation
        assert again.headers["Idempotency-Replayed"] == "true", operation
        assert again.headers.get("Location") == first.headers.get("Location")
        assert _rows(service) == before


def test_every_post_refuses_a_bad_key(service: Service) -> None:
    """Before anything is done."""
    for operation in _posts(service):
        call = access_table.prepared(service, operation)
        before = _rows(service)
        answer = service.call(call.method, call.path, json=call.body, headers={"Idempotency-Key": "a b"})
        problem(answer, 400, "idempotency_key_invalid")
        assert _rows(service) == before


def test_a_key_is_for_one_operation_on_one_thing(service: Service) -> None:
    """Bodies that are alike do not make requests alike: another server, or another operation, is another request."""
    one, two = service.create()["id"], service.create()["id"]
    headers = {"Idempotency-Key": "one"}
    assert service.call("POST", f"/api/servers/{one}/retry", headers=headers).status_code == 200
    for path in (f"/api/servers/{two}/retry", f"/api/servers/{one}/reset-host-key"):
        problem(service.call("POST", path, headers=headers), 422, "idempotency_conflict")


@pytest.mark.promise("A2")
def test_a_key_belongs_to_an_organization(service: Service) -> None:
    """The same key and the same body of another one make a server there, and show nothing of the first answer."""
    headers, body = {"Idempotency-Key": "one"}, service.body()
    first = service.call("POST", "/api/servers", json=body, headers=headers)
    stranger = service.token(organization="two")
    second = service.call("POST", "/api/servers", json=body, headers=headers, token=stranger)
    assert (first.status_code, second.status_code) == (201, 201)
    assert "Idempotency-Replayed" not in second.headers
    assert first.json()["id"] != second.json()["id"]
    assert _rows(service) == (2, 2)


def test_who_may_only_view_gets_no_answer_by_a_key(service: Service) -> None:
    """The answer that was given to another one is not given to who could not have made the request."""
    headers, body = {"Idempotency-Key": "one"}, service.body()
    assert service.call("POST", "/api/servers", json=body, headers=headers).status_code == 201
    viewer = service.token(["view:servers"])
    problem(service.call("POST", "/api/servers", json=body, headers=headers, token=viewer), 403, "forbidden")


@pytest.mark.promise("F26", "A16")
def test_twenty_equal_posts_at_once_make_one_server(service: Service) -> None:
    """One is carried out; the others wait for it, and get its answer."""
    answers = _at_once(service, "/api/servers", {"Idempotency-Key": "one"}, json=service.body())
    assert [answer.status_code for answer in answers] == [201] * MANY
    assert len({answer.text for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert _rows(service) == (1, 1)


@pytest.mark.promise("F26")
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "one"}], ids=["no key", "one key"])
def test_twenty_retries_at_once_queue_one_run(service: Service, headers: dict[str, str]) -> None:
    """With a key and without one: a server has one run that waits, and every answer is a good one."""
    server = service.create()["id"]
    service.set_runs(server, state=RunState.FAILED)
    service.set(server, status=ServerStatus.ERROR)
    answers = _at_once(service, f"/api/servers/{server}/retry", headers)
    assert {answer.status_code for answer in answers} == {200}
    assert [run["state"] for run in service.runs(server)] == ["queued", "failed"]
    if headers:
        assert len({answer.text for answer in answers}) == 1


def test_a_refused_post_leaves_its_key_free(service: Service) -> None:
    """A retry that came too early may be sent again with its key."""
    server = service.create()["id"]
    service.set(server, status=ServerStatus.ACTIVE)
    headers = {"Idempotency-Key": "one"}
    problem(service.call("POST", f"/api/servers/{server}/retry", headers=headers), 409, "not_failed")
    with service.parts.database.read() as session:
        assert session.exec(select(Answer)).all() == []
    service.set(server, status=ServerStatus.ERROR)
    assert service.call("POST", f"/api/servers/{server}/retry", headers=headers).status_code == 200


def test_an_answer_is_kept_without_the_secret_in_it_in_clear(service: Service) -> None:
    """A webhook's secret is shown once: asked again with the key it is the same, and it is stored sealed only."""
    headers, body = {"Idempotency-Key": "one"}, {"url": "https://hooks.example.org/"}
    first = service.call("POST", "/api/webhooks", json=body, headers=headers).json()
    assert service.call("POST", "/api/webhooks", json=body, headers=headers).json() == first
    with service.parts.database.read() as session:
        [kept] = session.exec(select(Answer)).all()
    assert first["secret"] not in str(kept.body)


def test_a_deleted_webhook_s_secret_is_not_shown_again(service: Service) -> None:
    """Its answer goes with it, and no other one; the same request makes a new webhook then."""
    asked = [({"Idempotency-Key": f"key-{number}"}, {"url": f"https://{number}.example.org/"}) for number in range(3)]
    made = [service.call("POST", "/api/webhooks", json=body, headers=headers).json() for headers, body in asked]
    assert service.call("DELETE", f"/api/webhooks/{made[1]['id']}").status_code == 204
    with service.parts.database.read() as session:
        assert set(session.exec(select(Answer.key)).all()) == {"key-0", "key-2"}
    again = [service.call("POST", "/api/webhooks", json=body, headers=headers).json() for headers, body in asked]
    assert [one == before for one, before in zip(again, made, strict=True)] == [True, False, True]
    assert again[1]["secret"] != made[1]["secret"]
