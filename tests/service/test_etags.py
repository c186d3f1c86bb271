"""ETag, If-Match and If-None-Match: a change is made to what was read, and who polls is told that nothing is new."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from api.data.tables import ServerStatus, now
from tests.service.problems import pointers, problem
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from tests.service.support import Service


def _tag(service: Service, server: str) -> str:
    found: str = service.call("GET", f"/api/servers/{server}").headers["ETag"]
    return found


def _put(service: Service, server: str, tag: str, **body: Any) -> Any:
    return service.call("PUT", f"/api/servers/{server}", json=body, headers={"If-Match": tag})


CHANGES: dict[str, dict[str, Any]] = {
    "name": {"name": "another"},
    "host": {"host": "198.51.100.7"},
    "port": {"port": 2222},
    "user": {"sshUser": "admin"},
    "sessions": {"maxSshSessions": 2},
    "description": {"description": "x"},
    "proxy": {"proxyType": "none"},
    "key": {"sshPrivateKey": private_key("ecdsa")},
    "password": {"sshPassword": "p"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_something_else_is_refused_afterwards(service: Service, change: str) -> None:
    """Whatever was changed, a credential, too: who read the server before is told, and what was changed stays."""
    server = service.create()["id"]
    tag = _tag(service, server)
    assert tag == _tag(service, server)
    assert service.call("PUT", f"/api/servers/{server}", json=CHANGES[change]).status_code == 200
    now_is = _tag(service, server)
    assert now_is != tag
    before = service.get(server)
    problem(_put(service, server, tag, description="undone"), 412, "precondition_failed")
    problem(service.call("DELETE", f"/api/servers/{server}", headers={"If-Match": tag}), 412, "precondition_failed")
    assert service.get(server) == before
    assert _put(service, server, now_is, description="mended").status_code == 200


def test_what_is_said_again_is_no_change(service: Service) -> None:
    """Not for others, nor for the server's own time, nor for the audit log."""
    server = service.create(description="x")["id"]
    tag, before = _tag(service, server), service.get(server)
    for body in ({}, {"description": "x", "port": 22}):
        assert service.call("PUT", f"/api/servers/{server}", json=body).status_code == 200
    assert (service.get(server), _tag(service, server)) == (before, tag)
    actions = [one["action"] for one in service.call("GET", "/api/audit").json()["entries"]]
    assert "server.update" not in actions


@pytest.mark.promise("F25")
def test_what_was_read_may_be_removed(service: Service) -> None:
    """And a removal that is asked for again is answered alike."""
    server = service.create()["id"]
    headers = {"If-Match": _tag(service, server)}
    for _ in range(2):
        assert service.call("DELETE", f"/api/servers/{server}", headers=headers).status_code == 202


def test_a_reset_of_the_host_key_is_a_change(service: Service) -> None:
    """Also where no key was pinned yet, and what is shown stays the same."""
    server = service.create()["id"]
    tag = _tag(service, server)
    assert service.call("POST", f"/api/servers/{server}/reset-host-key").status_code == 200
    problem(_put(service, server, tag, description="x"), 412, "precondition_failed")


FOUND_OUT: dict[str, dict[str, Any]] = {
    "signs of life": {"last_seen_at": now(), "agent_last_seen_at": now(), "agent_status": "connected"},
    "a run's end": {"status": ServerStatus.ERROR, "status_message": "x", "provisioning_step": "docker"},
    "hardware": {"os_version": "13.1", "cpu_cores": 8},
}


@pytest.mark.parametrize("found", FOUND_OUT)
def test_what_is_found_out_is_no_change(service: Service, found: str) -> None:
    """Who polls sees it; who changes the server is not kept from it."""
    server = service.create()["id"]
    tag = _tag(service, server)
    service.set(server, **FOUND_OUT[found])
    seen = service.call("GET", f"/api/servers/{server}", headers={"If-None-Match": tag})
    assert seen.status_code == 200
    assert seen.headers["ETag"] != tag
    assert _put(service, server, tag, description="x").status_code == 200


def test_nothing_new_is_a_304(service: Service) -> None:
    """Without a body, with the tag; also for a list of tags, a weak one, and any."""
    server = service.create()["id"]
    tag = _tag(service, server)
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = service.call("GET", f"/api/servers/{server}", headers={"If-None-Match": given})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag), given
    for given in ('"other"', tag.strip('"'), ""):
        assert service.call("GET", f"/api/servers/{server}", headers={"If-None-Match": given}).status_code == 200


def test_if_match_takes_lists_and_any_but_nothing_weak(service: Service) -> None:
    """RFC 9110, section 13.1.1: the comparison is a strong one."""
    server = service.create()["id"]
    assert _put(service, server, "*", description="1").status_code == 200
    tag = _tag(service, server)
    for given in (f"W/{tag}", '"other"', '""'):
        problem(_put(service, server, given, description="2"), 412, "precondition_failed")
    # Without its quotes it is no tag; "somebody changed it" would send who reads that in a circle.
    for given in (tag.strip('"'), ""):
        assert pointers(_put(service, server, given, description="2")) == ["/If-Match"]
    assert _put(service, server, f'"other", {tag}', description="3").status_code == 200


def test_a_server_that_is_not_there_is_a_404(service: Service) -> None:
    """For a stranger no tag tells anything."""
    server = service.create()["id"]
    stranger = service.token(organization="two")
    for method, body in (("PUT", {}), ("DELETE", None), ("GET", None)):
        headers = {"If-Match": '"x"', "If-None-Match": "*"}
        problem(service.call(method, f"/api/servers/{server}", token=stranger, json=body, headers=headers), 404)


def test_of_ten_changes_at_once_one_is_made(service: Service) -> None:
    """All have read the same state; the comparison and the change are one."""
    server = service.create()["id"]
    tag, token, start = _tag(service, server), service.token(), threading.Barrier(10)
    codes: list[int] = []

    def change(number: int) -> None:
        start.wait()
        body, headers = {"description": str(number)}, {"If-Match": tag}
        codes.append(service.call("PUT", f"/api/servers/{server}", token=token, json=body, headers=headers).status_code)

    threads = [threading.Thread(target=change, args=[number]) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200] + [412] * 9
