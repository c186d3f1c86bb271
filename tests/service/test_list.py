"""The list, its pages and filters, and requests that are made twice with one Idempotency-Key."""

from __future__ import annotations

import threading
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from sqlmodel import select

from api.data.tables import Run, Server
from tests.service.problems import pointers, problem

if TYPE_CHECKING:
    import httpx2

    from tests.service.support import Service


def _list(service: Service, query: str = "", **what: Any) -> list[str]:
    answer = service.call("GET", f"/api/servers{query}", **what)
    assert answer.status_code == 200, answer.text
    return [server["id"] for server in answer.json()["servers"]]


def _walk(service: Service, query: str) -> list[list[str]]:
    """Follow the Link headers, and return the pages."""
    pages = []
    while query:
        answer = service.call("GET", f"/api/servers?{query}")
        assert answer.status_code == 200, answer.text
        pages.append([server["id"] for server in answer.json()["servers"]])
        link = answer.headers.get("Link", "")
        assert not link or link.endswith('>; rel="next"')
        query = urlsplit(link.removesuffix('>; rel="next"').removeprefix("<")).query
    return pages


def test_the_list_is_newest_first_and_whole(service: Service) -> None:
    """Without parameters every server is there, and nothing says that there is more."""
    made = [service.create()["id"] for _ in range(25)]
    answer = service.call("GET", "/api/servers")
    assert [server["id"] for server in answer.json()["servers"]] == made[::-1]
    assert "Link" not in answer.headers
    assert answer.json().keys() == {"servers"}
    moments = [server["createdAt"] for server in answer.json()["servers"]]
    assert moments == sorted(moments, reverse=True)


def test_a_walk_over_the_pages_gives_each_server_once(service: Service) -> None:
    """Whatever the size of a page; also where a page ends with the last server."""
    made = [service.create()["id"] for _ in range(25)][::-1]
    for limit, sizes in ((1, [1] * 25), (5, [5] * 5), (10, [10, 10, 5]), (24, [24, 1]), (25, [25]), (500, [25])):
        pages = _walk(service, f"limit={limit}")
        assert [len(page) for page in pages] == sizes
        assert list(chain(*pages)) == made


def test_a_walk_is_not_disturbed_by_what_comes_and_goes(service: Service) -> None:
    """A server that is made meanwhile is on no later page, and one that goes moves no other."""
    made = [service.create()["id"] for _ in range(6)][::-1]
    first = service.call("GET", "/api/servers?limit=3")
    service.create()
    with service.parts.database.write() as session:
        session.delete(session.get(Server, made[2]))
    rest = urlsplit(first.headers["Link"].partition(">")[0].removeprefix("<")).query
    assert list(chain(*_walk(service, rest))) == made[3:]


def test_a_cursor_alone_gives_the_rest(service: Service) -> None:
    """All that is older, unpaged; a cursor that is no server's id any more still says where to go on."""
    made = [service.create()["id"] for _ in range(4)][::-1]
    assert _list(service, f"?cursor={made[1]}") == made[2:]
    assert _list(service, "?cursor=00000000-0000-7000-8000-000000000000") == []
    assert _list(service, "?cursor=ffffffff-ffff-7fff-bfff-ffffffffffff") == made


def test_the_list_is_filtered_by_status(service: Service) -> None:
    """Each status alone; the filter stays in the links to the next pages."""
    made = [service.create()["id"] for _ in range(9)]
    for server in made[::2]:
        service.set(server, status="active")
    assert _list(service, "?status=active") == made[::2][::-1]
    assert _list(service, "?status=pending") == made[1::2][::-1]
    assert _list(service, "?status=error") == []
    assert list(chain(*_walk(service, "status=active&limit=2"))) == made[::2][::-1]


def test_the_list_is_searched_by_name_and_host(service: Service) -> None:
    """Any part of either, in any case; signs that mean something to a database mean themselves."""
    web = service.create(name="Web 100%", host="web.example.com")["id"]
    data = service.create(name="db_1 [x] ü", host="198.51.100.7")["id"]
    for words, found in {
        "web": [web],
        "WEB": [web],
        "100%": [web],
        "0%": [web],
        "%": [web],
        "_": [data],
        "db_1": [data],
        "dbx1": [],
        "[x]": [data],
        "ü": [data],
        "51.100": [data],
        "example.com": [web],
        "e": [web],
        "'": [],
        "\\": [],
        "": [data, web],
    }.items():
        answer = service.call("GET", "/api/servers", params={"q": words})
        assert [server["id"] for server in answer.json()["servers"]] == found, words
    assert _list(service, "?q=1&limit=1&status=pending") == [data]
    assert _walk(service, "q=1&limit=1&status=pending") == [[data], [web]]


def test_another_organization_s_servers_are_never_shown(service: Service) -> None:
    """In no list, with no filter, and by no cursor of ours; names, hosts and keys are each one's own."""
    ours = service.create(name="same", host="192.0.2.250")["id"]
    theirs = service.create("two", name="same", host="192.0.2.250")["id"]
    token = service.token(organization="two")
    for query in ("", "?q=same", "?status=pending", "?limit=500", "?cursor=ffffffff-ffff-7fff-bfff-ffffffffffff"):
        assert _list(service, query) == [ours], query
        assert _list(service, query, token=token) == [theirs], query
    assert _list(service, f"?cursor={theirs}") == [ours]
    assert _list(service, f"?cursor={ours}", token=token) == []
    assert _list(service, token=service.token(organization="three")) == []


def _post(service: Service, body: dict[str, Any], key: str = "3b1f", **what: Any) -> httpx2.Response:
    return service.call("POST", "/api/servers", json=body, headers={"Idempotency-Key": key}, **what)


def _at_once(service: Service, bodies: list[dict[str, Any]], headers: dict[str, str]) -> list[httpx2.Response]:
    """Send requests from as many threads, and return the answers as they came."""
    token, answers, start = service.token(), list[Any](), threading.Barrier(len(bodies))

    def ask(body: dict[str, Any]) -> None:
        start.wait()
        answers.append(service.call("POST", "/api/servers", json=body, token=token, headers=headers))

    threads = [threading.Thread(target=ask, args=[body]) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _rows(service: Service) -> tuple[int, int]:
    with service.parts.database.read() as session:
        return len(session.exec(select(Server.id)).all()), len(session.exec(select(Run.id)).all())


def test_the_same_key_and_body_are_carried_out_once(service: Service) -> None:
    """The second answer is the first one again, and says so; the order of the body's fields does not matter."""
    body = service.body(sshPassword="for sudo", proxyType="none")
    first = _post(service, body)
    service.set(first.json()["id"], status="active")
    for again in (body, dict(reversed(body.items()))):
        answer = _post(service, again)
        assert (answer.status_code, answer.json()) == (201, first.json())
        assert answer.headers["Idempotency-Replayed"] == "true"
        assert answer.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert _rows(service) == (1, 1)


def test_ten_at_once_make_one_server(service: Service) -> None:
    """Whoever is first makes it; all are answered alike."""
    answers = _at_once(service, [service.body()] * 10, {"Idempotency-Key": "3b1f"})
    assert [answer.status_code for answer in answers] == [201] * 10
    assert len({answer.text for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert _rows(service) == (1, 1)


def test_ten_at_once_without_a_key_find_the_name_taken(service: Service) -> None:
    """The database's own constraint holds in the race, and is told as a 409."""
    bodies = [service.body(name="one", host=f"198.51.100.{number}") for number in range(1, 11)]
    answers = _at_once(service, bodies, {})
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    for answer in answers:
        if answer.status_code == 409:
            problem(answer, 409, "name_taken")
    assert _rows(service) == (1, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"name": "other"},
        {"host": "198.51.100.1"},
        {"port": 2222},
        {"sshUser": "admin"},
        {"sshPassword": "p"},
        {"maxSshSessions": 2},
        {"description": "x"},
        {"proxyType": "nginx"},
    ],
    ids="+".join,
)
def test_the_same_key_with_another_body_is_refused(service: Service, other: dict[str, Any]) -> None:
    """Whichever field differs, a secret one, too: the second request is not the first one again."""
    body = service.body()
    assert _post(service, body).status_code == 201
    problem(_post(service, body | other), 422, "idempotency_conflict")
    assert _rows(service) == (1, 1)


def test_a_key_is_its_organization_s_own(service: Service) -> None:
    """Another organization's request with the same key is another request."""
    body = service.body()
    ours, theirs = _post(service, body), _post(service, body, token=service.token(organization="two"))
    assert ours.json()["id"] != theirs.json()["id"]
    assert "Idempotency-Replayed" not in theirs.headers


def test_a_refused_request_leaves_its_key_free(service: Service) -> None:
    """What changed nothing may be mended and sent again with the same key."""
    service.create(name="taken")
    assert _post(service, service.body(port=0)).status_code == 422
    assert _post(service, service.body(name="taken")).status_code == 409
    assert _post(service, service.body()).status_code == 201


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\u00fc", "a\tb"])
def test_a_bad_key_is_a_400(service: Service, key: str) -> None:
    """1-255 printable ASCII characters without blanks; nothing is made with another one."""
    sent = [(b"Idempotency-Key", key.encode()), (b"Authorization", service.token().encode())]
    answer = service.client.request("POST", "/api/servers", headers=sent, json=service.body())
    problem(answer, 400, "idempotency_key_invalid")
    assert _rows(service) == (0, 0)


def test_the_longest_key_is_taken(service: Service) -> None:
    """All printable ASCII characters may be in it."""
    key = "".join(map(chr, range(0x21, 0x7F))) * 3
    assert _post(service, service.body(), key[:255]).status_code == 201


def test_a_parameter_that_is_not_known_is_refused(service: Service) -> None:
    """A misspelled filter would answer with everything; each one is named, and those that are known pass."""
    answer = service.call("GET", "/api/servers?limit=1&stauts=error&Q=x")
    problem(answer, 422, "invalid")
    assert pointers(answer) == ["/stauts", "/Q"]
    assert service.call("GET", "/health/live?x=1").status_code == 200


def test_runs_are_listed_in_pages(service: Service) -> None:
    """All of them, newest first."""
    server = service.create()["id"]
    for _ in range(2):
        service.set_runs(server, state="succeeded")
        service.set(server, status="active")
        assert service.call("POST", f"/api/servers/{server}/runs", json={"kind": "drift"}).status_code == 202
    every = [one["id"] for one in service.runs(server)]
    first = service.call("GET", f"/api/servers/{server}/runs?limit=2")
    rest = service.call("GET", first.links["next"]["url"])
    assert [one["id"] for one in first.json()["runs"] + rest.json()["runs"]] == every
    assert (len(every), "next" in rest.links) == (3, False)
