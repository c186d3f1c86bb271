"""A run's events: numbered without holes, and a stream of them that can be cut anywhere and joined again."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import uvicorn
from sqlmodel import col, select

import ocore
from api.data.tables import Event, Server, now
from api.main import create_app
from api.work.claims import claim
from api.work.owner import new_owner
from api.work.recorder import RowRecorder
from api.work.upkeep.sweeper import Sweeper
from tests.service.pausing import Pausing
from tests.service.storages import free_port
from tests.service.support import opened, recording, wait_for
from tests.service.test_life import OPTIONAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.settings import Settings
    from tests.service.support import Service


def stored(service: Service, run: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Return the events of a run as the database has them."""
    with service.parts.database.read() as session:
        rows = session.exec(select(Event).where(col(Event.run_id) == run).order_by(col(Event.number))).all()
    return [
        (one.number, one.type, {"at": one.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), **one.data})
        for one in rows
    ]


def without_holes(service: Service, run: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Return the events of a run, whose numbers are 1, 2, 3 and so on."""
    found = stored(service, run)
    assert [number for number, _, _ in found] == list(range(1, len(found) + 1))
    return found


def parsed(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Return the events of a stream that came whole: what was cut in the middle counts as not received."""
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if "id" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def follow(service: Service, run: str, after: int | str = "") -> Any:
    """Return the answer of a stream that is read to its end."""
    return service.call("GET", f"/api/runs/{run}/events", headers={"Last-Event-ID": str(after)})


def run_of(service: Service, server: str) -> str:
    """Return the id of a server's newest run."""
    name: str = service.runs(server)[0]["id"]
    return name


@contextmanager
def listening(service: Service) -> Iterator[str]:
    """Serve the API on a real port: what a client of a stream sees when a connection is cut."""
    port = free_port()
    config = uvicorn.Config(
        create_app(parts=service.parts), port=port, log_config=None, access_log=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, "it listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def test_a_runs_events_tell_all_of_it(service: Service) -> None:
    """Numbers from 1 without holes: its begin, the key, each step's begin and end, the hardware, and its end."""
    made = service.create()
    with service.worker():
        service.until(made["id"], "active")
    found = without_holes(service, run_of(service, made["id"]))
    assert (found[0][1], found[0][2]["state"]) == ("run", "running")
    assert (found[-1][1], found[-1][2]["state"]) == ("run", "succeeded")
    kinds = {kind for _, kind, _ in found}
    assert kinds == {"run", "hostKey", "step", "task", "facts"}
    steps = [data["status"] for _, kind, data in found if kind == "step" and data["step"] not in OPTIONAL]
    assert steps == ["running", "success"] * (len(steps) // 2)


def test_a_step_that_did_not_run_has_an_end_only(service: Service) -> None:
    """Neither one that was already so nor one that was not reached is said to be running; each has its row."""
    made = service.create()["id"]
    with service.worker(recording("already_so")):
        service.until(made, "active")
    assert began(service, made) == {"unchanged": False, "success": True}
    assert row(service, made).touched
    failed = service.create()["id"]
    with service.worker(recording("memory_low")):
        service.until(failed, "error")
    assert began(service, failed) == {"skipped": False, "success": True, "failed": True}
    assert not row(service, failed).touched
    for one in (made, failed):
        logs = service.call("GET", f"/api/servers/{one}/provisioning-logs").json()["logs"]
        assert [log["step"] for log in logs] == [step.name for step in ocore.STEPS]
        assert all(log["completedAt"] for log in logs)


def began(service: Service, name: str) -> dict[str, bool]:
    """Return, for each status that steps of a server's run ended with, whether those steps were said to be running."""
    run = service.runs(name)[0]["id"]
    with service.parts.database.read() as session:
        query = select(Event.data).where(col(Event.run_id) == run, col(Event.type) == "step")
        said = [(one["step"], one["status"]) for one in session.exec(query).all()]
    running = {step for step, status in said if status == "running"}
    found: dict[str, bool] = {}
    for step, status in said:
        if status != "running":
            assert found.setdefault(status, step in running) == (step in running), (step, status)
    return found


def row(service: Service, name: str) -> Server:
    """Return a server's row."""
    with service.parts.database.read() as session:
        return session.exec(select(Server).where(col(Server.id) == name)).one()


def test_the_stream_is_what_is_stored(service: Service) -> None:
    """Followed from the first to the last event; after that 204 says that there is no more."""
    made = service.create()
    with service.worker():
        service.until(made["id"], "active")
    run = run_of(service, made["id"])
    answer = follow(service, run)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert parsed(answer.text) == stored(service, run)
    last = stored(service, run)[-1][0]
    assert [one[0] for one in parsed(follow(service, run, last - 1).text)] == [last]
    assert follow(service, run, last).status_code == 204
    assert follow(service, run, last + 100).status_code == 204


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "1" * 10])
def test_only_a_number_is_a_place_in_the_stream(service: Service, given: str) -> None:
    """What is no number of an event is refused with 422."""
    made = service.create()
    assert follow(service, run_of(service, made["id"]), given).status_code == 422


def test_a_stream_that_is_cut_twenty_times_is_joined_without_a_gap(service: Service) -> None:
    """Cut at random bytes while the run goes on, and resumed by Last-Event-ID: the joined stream is the stored one."""
    chance = random.Random(3)  # noqa: S311 - to cut at other places each time would tell nothing
    made = service.create()
    run = run_of(service, made["id"])
    joined: list[tuple[int, str, dict[str, Any]]] = []
    cuts, over = 0, False
    slow = Pausing(after=-1, pace=0.01)
    with listening(service) as url, service.worker(slow), httpx2.Client(base_url=url, timeout=20) as client:
        while not over:
            most = chance.randint(1, 1000) if cuts < 20 else sys.maxsize
            text, was_cut, over = received(client, run, service.token(), joined[-1][0] if joined else 0, most)
            joined += parsed(text)
            cuts += was_cut
    assert cuts == 20
    assert joined == without_holes(service, run)
    assert joined[-1][2]["state"] == "succeeded"


def received(client: httpx2.Client, run: str, token: str, after: int, most: int) -> tuple[str, bool, bool]:
    """Return what came of a stream before it was cut; whether it was; and whether there is no more."""
    headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": str(after)}
    text = ""
    with client.stream("GET", f"/api/runs/{run}/events", headers=headers) as answer:
        for part in answer.iter_text(64):
            text += part
            if len(text) > most:
                return text[:most], True, False
        return text, False, answer.status_code == 204


def test_an_event_is_seen_soon(service: Service) -> None:
    """Who follows a run sees its steps while it goes on, not at its end."""
    made = service.create()
    run = run_of(service, made["id"])
    transport = Pausing()
    with listening(service) as url, service.worker(transport), httpx2.Client(base_url=url, timeout=30) as client:
        headers = {"Authorization": f"Bearer {service.token()}"}
        with client.stream("GET", f"/api/runs/{run}/events", headers=headers) as answer:
            text = ""
            for part in answer.iter_text(64):
                text += part
                if not transport.go.is_set() and '"step": "docker"' in text:
                    assert service.runs(made["id"])[0]["state"] == "running"
                    transport.go.set()
    assert parsed(text)[-1][2]["state"] == "succeeded"


@pytest.mark.parametrize("storage", ["sqlite"])
def test_an_organization_has_so_many_streams_at_most(settings: Settings) -> None:
    """One more is refused; another organization has its own; what has ended, or was cut, makes room."""
    with opened(settings.model_copy(update={"streams_organization": 2})) as service:
        run = run_of(service, service.create()["id"])
        token = service.token()
        theirs = service.token(organization="two")
        made = service.call("POST", "/api/servers", token=theirs, json=service.body()).json()["id"]
        other = service.call("GET", f"/api/servers/{made}/runs", token=theirs).json()["runs"][0]["id"]
        with listening(service) as url, httpx2.Client(base_url=url, timeout=20) as client, ExitStack() as stack:

            def begin(run: str, token: str) -> httpx2.Response:
                headers = {"Authorization": f"Bearer {token}"}
                return stack.enter_context(client.stream("GET", f"/api/runs/{run}/events", headers=headers))

            kept = [begin(run, token) for _ in range(2)]
            assert [answer.status_code for answer in kept] == [200, 200]
            refused = begin(run, token)
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
            assert begin(other, theirs).status_code == 200
            kept[0].close()
            wait_for(lambda: begin(run, token).status_code == 200, "there is room")
            assert begin(run, token).status_code == 429
            service.call("POST", f"/api/runs/{run}/cancel")
            wait_for(lambda: begin(run, token).status_code == 200, "there is room")


def test_numbers_have_no_holes_over_a_handover(service: Service) -> None:
    """The next worker goes on with the next number; the stream says that the run waits in between."""
    made = service.create()
    for _ in range(2):
        transport = Pausing()
        with service.worker(transport):
            transport.wait()
            time.sleep(0.6)  # so that the keeper has written, too
    with service.worker():
        service.until(made["id"], "active")
    run = run_of(service, made["id"])
    found = without_holes(service, run)
    states = [data["state"] for _, kind, data in found if kind == "run"]
    assert states == ["running", "queued", "running", "queued", "running", "succeeded"]
    assert parsed(follow(service, run).text) == found


def test_numbers_have_no_holes_over_a_lost_worker(service: Service) -> None:
    """What a lost worker had not written yet has no number, and what it tries to write late gets none."""
    made = service.create()
    machine, number, *_ = new_owner().split("/")
    taken = claim(service.parts.database, f"{machine}/{number}/0/dead", service.settings)
    assert taken is not None
    late = RowRecorder(service.parts, taken)
    late.begin()
    late.step_started("connect", now())
    late.begin()
    Sweeper(service.parts, new_owner()).sweep()
    with service.worker():
        service.until(made["id"], "active")
    with pytest.raises(Exception, match=r"^$"):
        late.flush()
    found = without_holes(service, taken.id)
    states = [data["state"] for _, kind, data in found if kind == "run"]
    assert states == ["running", "queued", "running", "succeeded"]


@pytest.mark.parametrize("wish", ["cancel", "replace"])
def test_the_stream_of_a_run_that_never_began_ends_too(service: Service, wish: str) -> None:
    """A run that was cancelled or replaced while it waited says so as its only event, and then 204."""
    made = service.create()
    run = run_of(service, made["id"])
    if wish == "cancel":
        service.call("POST", f"/api/runs/{run}/cancel")
    else:
        service.call("PUT", f"/api/servers/{made['id']}", json={"sshUser": "admin"})
    [(number, kind, data)] = parsed(follow(service, run).text)
    assert (number, kind, data["state"]) == (1, "run", "cancelled")
    assert follow(service, run, 1).status_code == 204


def test_an_old_run_whose_events_are_gone_is_over(service: Service) -> None:
    """Nobody waits for what retention has deleted: 204."""
    made = service.create()
    with service.worker():
        service.until(made["id"], "active")
    run = run_of(service, made["id"])
    with service.parts.database.write() as session:
        for row in session.exec(select(Event)).all():
            session.delete(row)
    assert follow(service, run).status_code == 204
    assert follow(service, run, 7).status_code == 204


def test_who_follows_a_removed_server_is_not_kept(service: Service) -> None:
    """The stream ends when the run is gone with its server."""
    made = service.create()
    run = run_of(service, made["id"])
    transport = Pausing()
    with service.worker(transport):
        transport.wait()
        reader = threading.Thread(target=follow, args=(service, run))
        reader.start()
        time.sleep(0.3)
        service.call("DELETE", f"/api/servers/{made['id']}")
        reader.join(10)
        assert not reader.is_alive()


@pytest.mark.promise("A2")
def test_the_stream_is_another_organizations_secret(service: Service) -> None:
    """Who has no right to the run is told that there is none."""
    made = service.create()
    run = run_of(service, made["id"])
    answer = service.call("GET", f"/api/runs/{run}/events", token=service.token(organization="two"))
    assert answer.status_code == 404
