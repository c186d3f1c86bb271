"""Stopping: a run on somebody's wish, and a worker on a signal."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlmodel import select

from api.data.tables import StepLog
from api.work import worker as worker_module
from api.work.claims import claim
from api.work.owner import new_owner
from tests.service.pausing import Pausing
from tests.service.support import opened, recording, wait_for

if TYPE_CHECKING:
    from api.settings import Settings
    from tests.service.support import Service


def cancel(service: Service, run: str) -> Any:
    """Ask for the end of a run."""
    return service.call("POST", f"/api/runs/{run}/cancel")


def only_run(service: Service, server: str) -> dict[str, Any]:
    """Return the only run of a server."""
    [found] = service.runs(server)
    return found


def test_a_run_that_waits_is_cancelled_at_once(service: Service) -> None:
    """It never begins; the server says so, and can be retried."""
    made = service.create()
    run = only_run(service, made["id"])
    answer = cancel(service, run["id"])
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    found = service.get(made["id"])
    assert found["status"] == "error"
    assert "Retry" in found["statusMessage"]
    transport = recording("bare")
    with service.worker(transport):
        time.sleep(1)
        assert not transport.orders
        assert service.call("POST", f"/api/servers/{made['id']}/retry").status_code == 200
        service.until(made["id"], "active")


def test_a_run_that_goes_on_is_stopped_within_seconds(service: Service) -> None:
    """It ends as cancelled with its open step, the rest is not begun, and the server can be retried."""
    made = service.create()
    transport = Pausing()
    with service.worker(transport):
        transport.wait()
        began = time.monotonic()
        assert cancel(service, only_run(service, made["id"])["id"]).status_code == 202
        found = service.until(made["id"], "error")
        assert time.monotonic() - began < 5
        assert "cancelled" in found["statusMessage"].lower()
        run = only_run(service, made["id"])
        assert (run["state"], run["errorCode"]) == ("cancelled", "cancelled")
        with service.parts.database.read() as session:
            steps = session.exec(select(StepLog)).all()
        assert all(one.completed_at for one in steps)
        assert "cancelled" in {one.status for one in steps}
        transport.after = -1
        assert service.call("POST", f"/api/servers/{made['id']}/retry").status_code == 200
        service.until(made["id"], "active")


def test_a_run_that_has_ended_cannot_be_cancelled(service: Service) -> None:
    """It is answered with 409, and the run is what it was."""
    made = service.create()
    with service.worker():
        service.until(made["id"], "active")
    run = only_run(service, made["id"])
    answer = cancel(service, run["id"])
    assert (answer.status_code, answer.json()["code"]) == (409, "run_ended")
    assert only_run(service, made["id"]) == run


def test_a_removal_cannot_be_cancelled(service: Service) -> None:
    """Neither while it waits nor while it goes on: the server is let go."""
    made = service.create()
    service.set(made["id"], touched=True)
    service.call("DELETE", f"/api/servers/{made['id']}")
    run = service.runs(made["id"])[0]
    assert run["kind"] == "cleanup"
    assert cancel(service, run["id"]).json()["code"] == "not_cancellable"
    transport = Pausing("cleaned", 3)
    with service.worker(transport):
        transport.wait()
        assert cancel(service, run["id"]).json()["code"] == "not_cancellable"
        transport.go.set()
        wait_for(lambda: service.call("GET", f"/api/servers/{made['id']}").status_code == 404, "it is gone")


def test_who_cancels_twice_is_answered_alike(service: Service) -> None:
    """The first wish counts; the second does no harm."""
    made = service.create()
    transport = Pausing()
    with service.worker(transport):
        transport.wait()
        run = only_run(service, made["id"])["id"]
        assert [cancel(service, run).status_code for _ in range(2)] == [202, 202]
        service.until(made["id"], "error")
        assert cancel(service, run).status_code == 409


def test_a_cancelled_drift_run_leaves_the_server_as_it_is(service: Service) -> None:
    """A look that was stopped says nothing of the server."""
    made = service.create()
    with service.worker():
        service.until(made["id"], "active")
    service.call("POST", f"/api/servers/{made['id']}/runs", json={"kind": "drift"})
    run = service.runs(made["id"])[0]
    assert cancel(service, run["id"]).status_code == 202
    assert service.get(made["id"])["status"] == "active"


@pytest.mark.promise("F28")
def test_a_stopped_worker_hands_its_run_over(service: Service) -> None:
    """The run waits again, its attempt does not count, its steps are closed, and another worker finishes it."""
    made = service.create()
    transport = Pausing()
    with service.worker(transport):
        transport.wait()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    run = only_run(service, made["id"])
    assert (run["state"], run["attempt"]) == ("queued", 0)
    assert service.get(made["id"])["status"] == "pending"
    with service.parts.database.read() as session:
        assert all(one.completed_at for one in session.exec(select(StepLog)).all())
    with service.worker():
        service.until(made["id"], "active")
    run = only_run(service, made["id"])
    assert (run["state"], run["attempt"]) == ("succeeded", 1)


def test_many_handovers_use_up_no_attempts(service: Service) -> None:
    """A run may be handed over more often than it may lose its worker."""
    made = service.create()
    for _ in range(service.settings.max_attempts + 1):
        transport = Pausing()
        with service.worker(transport):
            transport.wait()
    with service.worker():
        service.until(made["id"], "active")


@pytest.mark.parametrize("wish", ["cancel", "remove"])
def test_a_wish_that_came_just_before_the_stop_counts(service: Service, wish: str) -> None:
    """A run that somebody wants to end is ended, not handed over."""
    made = service.create()
    transport = Pausing()
    with service.worker(transport):
        transport.wait()
        run = only_run(service, made["id"])["id"]
        if wish == "cancel":
            cancel(service, run)
        else:
            service.call("DELETE", f"/api/servers/{made['id']}")
    assert service.call("GET", f"/api/runs/{run}").json()["state"] == "cancelled"


@pytest.mark.promise("F28")
def test_a_short_run_ends_within_the_grace_time(settings: Settings) -> None:
    """It is not handed over: it has ended well when the worker has."""
    with opened(settings.model_copy(update={"grace_seconds": 20})) as service:
        made = service.create()
        transport = Pausing()
        with service.worker(transport):
            transport.wait()
            threading.Timer(1, transport.go.set).start()
        run = only_run(service, made["id"])
        assert (run["state"], run["attempt"]) == ("succeeded", 1)


@pytest.mark.promise("F28")
def test_a_stopping_worker_takes_no_more(settings: Settings) -> None:
    """What waits when it is told to stop is left for others, also where a place gets free in its grace time."""
    with opened(settings.model_copy(update={"grace_seconds": 20, "workers": 1})) as service:
        made = service.create()
        transport = Pausing()
        with service.worker(transport):
            transport.wait()
            waiting = service.create()
            threading.Timer(1, transport.go.set).start()
        assert only_run(service, made["id"])["state"] == "succeeded"
        run = only_run(service, waiting["id"])
        assert (run["state"], run["attempt"]) == ("queued", 0)


def test_a_run_that_is_claimed_while_the_worker_stops_is_handed_over(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop waits for a claim that is under way, and hands its run over like the others."""
    claiming, transport = threading.Event(), Pausing()

    def slow_claim(*arguments: Any) -> Any:
        found = claim(*arguments)
        claiming.set()
        time.sleep(0.5)
        return found

    monkeypatch.setattr(worker_module, "claim", slow_claim)
    made = service.create()
    with service.worker(transport):
        assert claiming.wait(5)
    run = only_run(service, made["id"])
    assert (run["state"], run["attempt"]) == ("queued", 0)
    assert claim(service.parts.database, new_owner(), service.settings) is not None
