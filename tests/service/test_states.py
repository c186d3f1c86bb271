"""API.md's table of states ("Who may, and when"), cell by cell: what each call answers, and what it leaves behind."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from sqlmodel import select

from api.data.tables import Run, Server, now
from tests.service.problems import problem
from tests.unit.keymaker import private_key, public_key

if TYPE_CHECKING:
    from tests.service.support import Service

PIN = public_key()
KEY = private_key("ed25519")
STATES = ("pending", "validating", "provisioning", "active", "unreachable", "error", "removing")
# The runs that a server in this state has, as `_runs` tells them.
RUNS = {
    "pending": ["provision queued"],
    "validating": ["provision running"],
    "provisioning": ["provision running"],
    "active": ["provision succeeded"],
    "unreachable": ["provision succeeded"],
    "error": ["provision failed"],
    "removing": ["cleanup queued", "provision succeeded"],
}


class Cell(NamedTuple):
    """What a call answers in a state, and what is then so.

    `runs` are newest first, None where they are as before; `generation` and `epoch` are what was added to them.
    """

    answer: str
    status: str
    runs: list[str] | None = None
    generation: int = 0
    epoch: int = 0


def _same(answer: str, epoch: int = 0) -> dict[str, Cell]:
    """Return a row in which nothing changes but what is named, and only removal forbids the call."""
    row = {state: Cell(answer, state, epoch=epoch) for state in STATES}
    return row | {"removing": Cell("409 removing", "removing")}


TABLE: dict[str, dict[str, Cell]] = {
    "PUT connection": {
        "pending": Cell("200", "pending", ["provision queued", "provision cancelled"], 1),
        "validating": Cell("200", "pending", ["provision queued", "provision running, to stop: superseded"], 1),
        "provisioning": Cell("200", "pending", ["provision queued", "provision running, to stop: superseded"], 1),
        "active": Cell("200", "pending", ["provision queued", "provision succeeded"], 1),
        "unreachable": Cell("200", "pending", ["provision queued", "provision succeeded"], 1),
        "error": Cell("200", "pending", ["provision queued", "provision failed"], 1),
        "removing": Cell("409 removing", "removing"),
    },
    "PUT other": _same("200"),
    "retry": {
        # The same queued run: `_runs` names one that is as before, and a test below compares its id.
        "pending": Cell("200", "pending"),
        "validating": Cell("409 busy", "validating"),
        "provisioning": Cell("409 busy", "provisioning"),
        "active": Cell("409 not_failed", "active"),
        "unreachable": Cell("409 not_failed", "unreachable"),
        "error": Cell("200", "pending", ["provision queued", "provision failed"]),
        "removing": Cell("409 removing", "removing"),
    },
    "POST runs": {
        "pending": Cell("409 busy", "pending"),
        "validating": Cell("409 busy", "validating"),
        "provisioning": Cell("409 busy", "provisioning"),
        "active": Cell("202", "active", ["drift queued", "provision succeeded"]),
        "unreachable": Cell("202", "unreachable", ["drift queued", "provision succeeded"]),
        "error": Cell("202", "error", ["drift queued", "provision failed"]),
        "removing": Cell("409 removing", "removing"),
    },
    "reset-host-key": _same("200", epoch=1),
    "DELETE": {
        "pending": Cell("202", "removing", ["cleanup queued", "provision cancelled"], 1),
        "validating": Cell("202", "removing", ["cleanup queued", "provision running, to stop: removed"], 1),
        "provisioning": Cell("202", "removing", ["cleanup queued", "provision running, to stop: removed"], 1),
        "active": Cell("202", "removing", ["cleanup queued", "provision succeeded"], 1),
        "unreachable": Cell("202", "removing", ["cleanup queued", "provision succeeded"], 1),
        "error": Cell("202", "removing", ["cleanup queued", "provision failed"], 1),
        "removing": Cell("202", "removing"),
    },
}
CALLS: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "PUT connection": ("PUT", "", {"sshUser": "admin"}),
    "PUT other": ("PUT", "", {"description": "other", "maxSshSessions": 2}),
    "retry": ("POST", "/retry", None),
    "POST runs": ("POST", "/runs", {"kind": "drift"}),
    "reset-host-key": ("POST", "/reset-host-key", None),
    "DELETE": ("DELETE", "", None),
}


def _in(service: Service, state: str) -> str:
    """Return a server in a state, with the runs that go with it, and with a pinned host key."""
    server: str = service.create()["id"]
    if state == "removing":
        service.set_runs(server, state="succeeded")
        service.set(server, status="active", host_key=PIN)
        assert service.call("DELETE", f"/api/servers/{server}").status_code == 202
        return server
    run = RUNS[state][0].split()[1]
    if run == "running":
        lease = {"lease_owner": "somebody", "lease_until": now() + timedelta(hours=1), "started_at": now()}
        service.set_runs(server, state=run, attempt=1, fence=1, **lease)
    elif run != "queued":
        service.set_runs(server, state=run, finished_at=now())
    service.set(server, status=state, host_key=PIN)
    return server


def _runs(service: Service, server: str) -> list[str]:
    with service.parts.database.read() as session:
        rows = session.exec(select(Run).where(Run.server_id == server)).all()
    return [
        f"{row.kind} {row.state}" + (f", to stop: {row.cancel_reason}" if row.cancel_reason else "")
        for row in sorted(rows, key=lambda row: row.id, reverse=True)
    ]


def _row(service: Service, server: str) -> Server:
    with service.parts.database.read() as session:
        return session.exec(select(Server).where(Server.id == server)).one()


def _call(service: Service, row: str, server: str) -> str:
    """Make a row's call, and return its status and the problem's code."""
    method, end, body = CALLS[row]
    answer = service.call(method, f"/api/servers/{server}{end}", json=body)
    if answer.is_success:
        return str(answer.status_code)
    return f"{answer.status_code} {problem(answer, answer.status_code)['code']}"


@pytest.mark.parametrize("state", STATES)
def test_each_cell_is_as_the_table_says(service: Service, state: str) -> None:
    """For every call in this state: the answer, the status, the runs, the generation, and the pin's epoch."""
    found, expected = {}, {}
    for row, cells in TABLE.items():
        server = _in(service, state)
        assert _runs(service, server) == RUNS[state]
        before = _row(service, server)
        answer = _call(service, row, server)
        after = _row(service, server)
        added = after.generation - before.generation, after.host_key_epoch - before.host_key_epoch
        found[row] = Cell(answer, after.status, _runs(service, server), *added)
        cell = cells[state]
        expected[row] = cell._replace(runs=RUNS[state] if cell.runs is None else cell.runs)
        assert (after.host_key is None) == (cell.epoch == 1), row
    assert found == expected


def test_a_new_run_is_of_the_new_generation(service: Service) -> None:
    """What a connection's change or a removal queues, counts; what ran before, does not any more."""
    for row in ("PUT connection", "DELETE"):
        server = _in(service, "provisioning")
        _call(service, row, server)
        with service.parts.database.read() as session:
            runs = {run.state: run.generation for run in session.exec(select(Run).where(Run.server_id == server)).all()}
        assert runs == {"queued": 2, "running": 1}
        assert _row(service, server).generation == 2


def test_retry_of_a_waiting_server_keeps_its_run(service: Service) -> None:
    """Asked ten times, the same run waits."""
    server = _in(service, "pending")
    before = service.runs(server)
    for _ in range(10):
        assert _call(service, "retry", server) == "200"
    assert service.runs(server) == before


def test_retry_never_clears_the_host_key(service: Service) -> None:
    """A key that changed must be looked at by a person, who resets it."""
    server = _in(service, "error")
    assert _call(service, "retry", server) == "200"
    assert _row(service, server).host_key == PIN


@pytest.mark.parametrize(
    ("given", "clears"),
    [
        ({"host": "198.51.100.1"}, True),
        ({"port": 2222}, True),
        ({"sshUser": "admin"}, False),
        ({"authMethod": "password", "sshPassword": "p"}, False),
        ({"sshPassword": "p"}, False),
        ({"sshPrivateKey": KEY}, False),
        ({"name": "x", "description": "x", "host": "198.51.100.2"}, True),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_each_field_of_the_connection_makes_a_new_generation(
    service: Service,
    given: dict[str, Any],
    clears: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """A new host or port clears the pin, the other fields keep it."""
    server = _in(service, "active")
    answer = service.call("PUT", f"/api/servers/{server}", json=given)
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    row = _row(service, server)
    assert (row.generation, row.host_key is None, row.host_key_epoch) == (2, clears, int(clears))
    assert _runs(service, server) == ["provision queued", "provision succeeded"]


@pytest.mark.parametrize("state", ["active", "provisioning"])
def test_what_is_said_again_changes_no_connection(service: Service, state: str) -> None:
    """A form that sends every field back as it was, stops nothing and queues nothing."""
    server = _in(service, state)
    shown = service.get(server)
    names = ("name", "host", "port", "sshUser", "authMethod", "maxSshSessions", "description", "proxyType")
    again = {name: shown[name] for name in names} | {"sshPrivateKey": "", "sshPassword": None}
    answer = service.call("PUT", f"/api/servers/{server}", json=again)
    assert answer.status_code == 200
    row = _row(service, server)
    assert (row.status, row.generation, row.host_key) == (state, 1, PIN)
    assert _runs(service, server) == RUNS[state]


@pytest.mark.parametrize(
    ("state", "runs"),
    [
        ("pending", ["provision queued"]),
        ("active", ["provision queued", "provision succeeded"]),
        ("unreachable", ["provision queued", "provision succeeded"]),
        ("error", ["provision failed"]),
    ],
)
def test_another_proxy_queues_a_run_on_a_server_that_has_one(service: Service, state: str, runs: list[str]) -> None:
    """On an active server the old proxy is to be removed; one that waits or failed takes the new one when it runs."""
    server = _in(service, state)
    answer = service.call("PUT", f"/api/servers/{server}", json={"proxyType": "nginx"})
    assert (answer.status_code, answer.json()["status"]) == (200, state)
    assert _runs(service, server) == runs
    assert _row(service, server).generation == 1


def test_a_reset_may_name_the_key_that_must_come(service: Service) -> None:
    """The fingerprint is kept for the next connection; a reset without one forgets it."""
    server = _in(service, "error")
    fingerprint = "SHA256:" + "a" * 43
    path = f"/api/servers/{server}/reset-host-key"
    for body, kept in (({"expectedFingerprint": fingerprint}, fingerprint), ({}, None), (None, None)):
        answer = service.call("POST", path, json=body)
        assert answer.status_code == 200
        assert (fingerprint in answer.json()["message"]) == bool(kept)
        assert _row(service, server).expected_fingerprint == kept
    assert _row(service, server).host_key_epoch == 3


def test_a_server_can_be_read_in_every_state(service: Service) -> None:
    """Reads answer until the server is gone, and then 404, like every other call."""
    reads = ["", "/capacity", "/provisioning-logs", "/runs", "/plan", "/drift"]
    server = ""
    for state in STATES:
        server = _in(service, state)
        for end in reads:
            assert service.call("GET", f"/api/servers/{server}{end}").status_code == 200, end
        assert service.get(server)["status"] == state
    with service.parts.database.write() as session:
        session.delete(session.get(Server, server))
    for end in reads:
        problem(service.call("GET", f"/api/servers/{server}{end}"), 404, "not_found")
    for row in CALLS:
        assert _call(service, row, server) == "404 not_found"


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        ("queued", "202"),
        ("running", "202"),
        ("succeeded", "409 run_ended"),
        ("failed", "409 run_ended"),
        ("cancelled", "409 run_ended"),
    ],
)
def test_a_run_is_cancelled_while_it_waits_or_goes_on(service: Service, state: str, answer: str) -> None:
    """One that waits ends at once, and its server can be retried; one that goes on is asked to stop."""
    server: str = service.create()["id"]
    run = service.runs(server)[0]["id"]
    service.set_runs(server, state=state)
    found = service.call("POST", f"/api/runs/{run}/cancel")
    code = "" if found.is_success else f" {problem(found, 409)['code']}"
    assert f"{found.status_code}{code}" == answer
    then = {"queued": "provision cancelled", "running": "provision running, to stop: cancelled"}
    assert _runs(service, server) == [then.get(state, f"provision {state}")]
    if state == "queued":
        assert service.get(server)["status"] == "error"
        assert _call(service, "retry", server) == "200"


def test_a_removal_is_not_cancelled(service: Service) -> None:
    """It ends by itself."""
    server = _in(service, "removing")
    run = service.runs(server)[0]["id"]
    problem(service.call("POST", f"/api/runs/{run}/cancel"), 409, "not_cancellable")
    assert _runs(service, server) == RUNS["removing"]
