"""Every state ends, and a server is active only if it was provisioned: what calls do to each other, pair by pair."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlmodel import col, select

from api.data.tables import Run, RunState, now
from api.settings import Settings
from api.work.claims import claim
from api.work.owner import new_owner
from api.work.upkeep import sweeper
from api.work.upkeep.overdue import end_overdue
from api.work.upkeep.sweeper import Sweeper
from tests.service.support import opened, recording, wait_for

if TYPE_CHECKING:
    from tests.service.support import Service


def post(service: Service, server: str, what: str, **body: object) -> str:
    """Make one of the calls that queue a run; return the newest run's id."""
    service.call("POST", f"/api/servers/{server}/{what}", json=body or None)
    return str(service.runs(server)[0]["id"])


def lose_worker(service: Service, server: str) -> None:
    """Have the run of a server lose its worker."""
    with service.parts.database.write() as session:
        run = session.exec(select(Run).where(Run.server_id == server, Run.state == RunState.RUNNING)).one()
        run.lease_until = now() - timedelta(seconds=1)
        session.add(run)
        session.flush()
        sweeper.reap(session, run.id, service.settings, service.parts.signer)


def running(service: Service, server: str, status: str) -> None:
    """Put a server into a state with a run that goes on."""
    service.set(server, status=status)
    service.set_runs(server, state=RunState.RUNNING, lease_owner="elsewhere/1/1/x", lease_until=now() + timedelta(60))


def test_a_run_that_is_lost_with_a_follower_leaves_a_server_that_can_be_retried(service: Service) -> None:
    """Neither a lost run nor the end of the one that waited behind it leaves `provisioning` with nothing to come."""
    made = service.create()["id"]
    running(service, made, "provisioning")
    service.call("PUT", f"/api/servers/{made}", json={"proxyType": "nginx"})
    lose_worker(service, made)
    assert service.get(made)["status"] == "pending"
    follower = service.runs(made)[0]
    assert follower["state"] == "queued"
    service.call("POST", f"/api/runs/{follower['id']}/cancel")
    assert service.get(made)["status"] == "error"
    assert service.call("POST", f"/api/servers/{made}/retry").status_code == 200


@pytest.mark.promise("F24")
@pytest.mark.parametrize("before", ["an older run", "a look"])
def test_no_server_waits_for_a_run_that_was_cancelled(service: Service, before: str) -> None:
    """While a run goes on whose end says nothing of it: one about an older connection, or a look at its drift."""
    made = service.create()["id"]
    running(service, made, "provisioning")
    if before == "a look":
        service.set_runs(made, kind="drift")
        service.set(made, status="error")
        post(service, made, "retry")
    else:
        service.call("PUT", f"/api/servers/{made}", json={"sshUser": "admin"})
    assert service.get(made)["status"] == "pending"
    service.call("POST", f"/api/runs/{service.runs(made)[0]['id']}/cancel")
    assert service.get(made)["status"] == "error"


def test_some_steps_do_not_make_a_server_active(service: Service) -> None:
    """A server that was never provisioned as a whole says so after a run of chosen steps."""
    made = service.create()["id"]
    service.set_runs(made, state=RunState.FAILED, finished_at=now())
    service.set(made, status="error")
    post(service, made, "runs", kind="provision", steps=["packages"])
    with service.worker():
        wait_for(lambda: service.runs(made)[0]["finishedAt"], "the run ends")
    found = service.get(made)
    assert found["status"] == "error"
    assert "not provisioned as a whole" in found["statusMessage"]


@pytest.mark.promise("F25")
def test_a_new_host_is_a_bare_one(service: Service) -> None:
    """After a change of the host, a validation alone does not make the server active: it goes on to be provisioned."""
    made = service.create()["id"]
    with service.worker():
        service.until(made, "active")
    service.call("PUT", f"/api/servers/{made}", json={"host": "192.0.2.77"})
    service.call("POST", f"/api/runs/{service.runs(made)[0]['id']}/cancel")
    post(service, made, "runs", kind="validate")
    with service.worker(recording("bare")):
        wait_for(lambda: service.runs(made)[0]["kind"] == "provision", "a provisioning run follows")


def test_half_a_provisioning_counts_as_none(service: Service) -> None:
    """A run that lost every worker has left half a server, which a validation does not make active."""
    made = service.create()["id"]
    service.set(made, provisioned=True)
    running(service, made, "provisioning")
    service.set_runs(made, attempt=3)
    lose_worker(service, made)
    with service.parts.database.read() as session:
        run = session.exec(select(Run).where(Run.server_id == made)).one()
    assert run.error_code == "worker_lost"
    service.set_runs(made, state=RunState.FAILED)
    post(service, made, "runs", kind="validate")
    with service.worker():
        wait_for(lambda: service.runs(made)[0]["kind"] == "provision", "a provisioning run follows")


@pytest.mark.parametrize("body", [{"kind": "drift"}, {"kind": "validate"}, {"kind": "provision", "steps": ["docker"]}])
def test_another_proxy_is_not_forgotten_behind_another_run(service: Service, body: dict[str, object]) -> None:
    """A run that waits and would not change the proxy makes place for one that does."""
    made = service.create()["id"]
    service.set_runs(made, state=RunState.SUCCEEDED, finished_at=now())
    service.set(made, status="active", provisioned=True)
    post(service, made, "runs", **body)
    service.call("PUT", f"/api/servers/{made}", json={"proxyType": "nginx"})
    [waits] = [run for run in service.runs(made) if run["state"] == "queued"]
    assert (waits["kind"], waits["steps"]) == ("provision", [])


def test_a_cancelled_look_changes_nothing(service: Service) -> None:
    """A server that is held after its validation stays held when a drift run that waits is cancelled."""
    made = service.create()["id"]
    service.set_runs(made, state=RunState.SUCCEEDED, finished_at=now())
    look = post(service, made, "runs", kind="drift")
    service.call("POST", f"/api/runs/{look}/cancel")
    assert service.get(made)["status"] == "pending"


@pytest.mark.promise("F25")
def test_a_clean_up_is_tried_again_until_its_deadline(service: Service, settings: Settings) -> None:
    """A server that may answer later is not let go at the first failure, and at the deadline it is."""
    made = service.create()["id"]
    with service.worker():
        service.until(made, "active")
    service.call("DELETE", f"/api/servers/{made}")
    with service.worker(recording("dies")):
        found = wait_for(
            lambda: "tried again" in service.get(made)["statusMessage"] and service.get(made), "it is put off"
        )
    assert found["status"] == "removing"
    [run] = [one for one in service.runs(made) if one["kind"] == "cleanup"]
    assert run["state"] == "queued"
    service.parts.close()
    # The same service with a deadline that has passed.
    with opened(settings.model_copy(update={"cleanup_timeout": 0.001})) as later:
        later.organizations.update(service.organizations)
        later.set_runs(made, start_after=None)
        with later.worker(recording("dies")):
            wait_for(lambda: later.call("GET", f"/api/servers/{made}").status_code == 404, "it is gone")


def test_a_removal_that_waits_for_a_worker_only_is_not_given_up(service: Service) -> None:
    """However late one comes: a server that is let go without a clean-up keeps all that was put on it."""
    made = service.create()["id"]
    service.set_runs(made, state=RunState.SUCCEEDED, finished_at=now())
    service.set(made, status="active", touched=True)
    service.call("DELETE", f"/api/servers/{made}")
    _age(service, made, service.settings.cleanup_timeout * 100)
    end_overdue(service.parts)
    assert service.get(made)["status"] == "removing"


@pytest.mark.parametrize("tried", [False, True], ids=["never begun", "tried before"])
def test_a_removal_that_waits_ends_at_its_deadline(service: Service, *, tried: bool) -> None:
    """Somebody else's run may be on its machine for as long as it likes: the server is gone, with its secrets."""
    made = service.create(host="192.0.2.7")["id"]
    service.set_runs(made, state=RunState.SUCCEEDED, finished_at=now())
    service.set(made, status="active", touched=True)
    service.create("two", host="192.0.2.7")
    assert claim(service.parts.database, new_owner(), service.settings) is not None
    service.call("DELETE", f"/api/servers/{made}")
    if tried:
        service.set_runs(made, started_at=now(), attempt=1, message="It did not answer.")
    end_overdue(service.parts)
    assert service.get(made)["status"] == "removing"
    _age(service, made, service.settings.cleanup_timeout + 1)
    end_overdue(service.parts)
    assert service.call("GET", f"/api/servers/{made}").status_code == 404
    told = service.call("GET", "/api/audit?action=server.removed").json()["entries"]
    assert "its deadline passed while its clean-up waited" in told[0]["detail"]
    assert ("It did not answer." in told[0]["detail"]) == tried
    found = service.call("GET", f"/api/servers/{made}/receipts")
    assert found.status_code == (200 if tried else 404)
    if tried:
        [receipt] = [one["receipt"] for one in found.json()["receipts"]]
        assert receipt["run"]["outcome"] == "failed"


def test_a_worker_ends_removals_that_wait_for_too_long(service: Service) -> None:
    """By itself; not at once, since after a pause of the whole service the workers come first."""
    made = service.create(host="192.0.2.7")["id"]
    service.set_runs(made, state=RunState.SUCCEEDED, finished_at=now())
    service.set(made, status="active", touched=True)
    service.create("two", host="192.0.2.7")
    for_long = service.settings.model_copy(update={"lease_seconds": service.settings.lease_seconds * 2})
    assert claim(service.parts.database, new_owner(), for_long) is not None
    service.call("DELETE", f"/api/servers/{made}")
    _age(service, made, service.settings.cleanup_timeout + 1)
    sweeper = Sweeper(service.parts, new_owner())
    sweeper.sweep()
    assert service.get(made)["status"] == "removing"

    def gone() -> bool:
        sweeper.sweep()
        return service.call("GET", f"/api/servers/{made}").status_code == 404

    wait_for(gone, "it is gone")


def _age(service: Service, server: str, seconds: float) -> None:
    with service.parts.database.write() as session:
        for run in session.exec(select(Run).where(col(Run.server_id) == server)).all():
            run.created_at -= timedelta(seconds=seconds)
            session.add(run)


def test_a_lease_is_longer_than_three_heartbeats(settings: Settings) -> None:
    """Settings under which each run would lose its lease are refused."""
    with pytest.raises(ValueError, match="a third of lease_seconds"):
        Settings(home=settings.home, lease_seconds=6, heartbeat_seconds=5)


def test_invented_methods_make_no_series(service: Service) -> None:
    """Who has no token cannot make the metrics grow."""
    for number in range(5):
        service.client.request(f"INVENTED{number}", "/health/live")
    assert "INVENTED" not in service.client.get("/metrics").text


def test_an_end_that_the_database_refuses_once_is_written_again(service: Service) -> None:
    """What it refers to may go at the same moment; the run is not made again for that."""
    refused: list[Run] = []

    def is_first_end(one: Any) -> bool:
        first = isinstance(one, Run) and one.state == RunState.SUCCEEDED and not refused
        refused.extend([one] if first else [])
        return first

    service.refuse(is_first_end)
    made = service.create()["id"]
    with service.worker():
        service.until(made, "active")
    assert refused
    assert {one["attempt"] for one in service.runs(made)} == {1}
