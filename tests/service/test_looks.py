"""Looks at servers on a schedule: spread, few at a time, and behind everything that somebody asks for."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlmodel import col, select

from api.data.tables import Run, RunState, Server, now
from api.ids import new_id
from api.work.claims import claim
from api.work.owner import new_owner
from api.work.upkeep.looks import BY, Looks, next_look
from tests.service.support import opened, recording, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.settings import Settings
    from tests.service.support import Service

DAY = timedelta(days=1)
OURSELVES = new_owner()


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    """Return a service that looks at each server every hour, at two at a time."""
    with opened(settings.model_copy(update={"drift_interval_hours": 1.0, "drift_at_once": 2})) as found:
        yield found


def active(service: Service, count: int, **columns: Any) -> list[str]:
    """Create active servers with nothing to do."""
    made = [service.create()["id"] for _ in range(count)]
    for one in made:
        service.set(one, status="active", provisioned=True, **columns)
        service.set_runs(one, state=RunState.SUCCEEDED, finished_at=now())
    return made


def due(service: Service, count: int) -> list[str]:
    """Create active servers that are to be looked at now."""
    return active(service, count, drift_at=now() - timedelta(minutes=1))


def step(service: Service) -> None:
    """Have the thread's work done once."""
    Looks(service.parts, OURSELVES).step()


def looks(service: Service) -> list[Run]:
    """Return the looks that nobody asked for, oldest first."""
    with service.parts.database.read() as session:
        return list(session.exec(select(Run).where(col(Run.created_by) == BY).order_by(col(Run.id))).all())


def end(service: Service, run: Run) -> None:
    """Let a run end."""
    service.set_runs(run.server_id, state=RunState.SUCCEEDED, finished_at=now())


def test_servers_have_places_that_are_spread_evenly() -> None:
    """Each server's is always the same, within one interval from now; a thousand of them come in no burst."""
    moment = now()
    names = [new_id() for _ in range(1000)]
    places = [next_look(name, moment, DAY) - moment for name in names]
    assert all(timedelta() < place <= DAY for place in places)
    hours = Counter(place // timedelta(hours=1) for place in places)
    assert set(hours) == set(range(24))
    assert max(hours.values()) < 3 * 1000 / 24
    for name in names[:10]:
        first = next_look(name, moment, DAY)
        assert next_look(name, first, DAY) == first + DAY
        assert next_look(name, first - timedelta(seconds=1), DAY) == first


def test_a_server_is_first_given_a_moment(service: Service) -> None:
    """Switched on, the schedule begins with no burst; one that was made for a longer interval is made anew."""
    [new] = active(service, 1)
    [far] = active(service, 1, drift_at=now() + DAY)
    step(service)
    assert looks(service) == []
    with service.parts.database.read() as session:
        for name in (new, far):
            then = session.exec(select(Server.drift_at).where(col(Server.id) == name)).one()
            assert then is not None
            assert now() < then <= now() + timedelta(hours=1)


def test_so_many_looks_wait_or_go_on_and_no_more(service: Service) -> None:
    """The next one is queued when one has ended; each server is looked at once in its turn."""
    made = due(service, 5)
    for count in (2, 2):
        step(service)
        assert len(looks(service)) == count
    for count in (3, 4, 5, 5):
        first = next(run for run in looks(service) if run.state == RunState.QUEUED)
        end(service, first)
        step(service)
        assert len(looks(service)) == count
    assert sorted(run.server_id for run in looks(service)) == sorted(made)
    assert {(run.kind, run.created_by) for run in looks(service)} == {("drift", BY)}


def test_a_look_that_cannot_be_queued_holds_up_no_other(service: Service) -> None:
    """The other servers that are due are looked at."""
    bad, good = due(service, 2)
    service.set(bad, drift_at=now() - timedelta(minutes=2))
    service.refuse(lambda one: isinstance(one, Run) and one.server_id == bad)
    step(service)
    assert [run.server_id for run in looks(service)] == [good]


def test_only_servers_that_are_active_and_idle_are_looked_at(service: Service) -> None:
    """Neither one that is not well, nor one of which a run waits or goes on."""
    queued, going, away = due(service, 3)
    service.set(away, status="unreachable")
    for name, state in ((queued, RunState.QUEUED), (going, RunState.RUNNING)):
        service.set_runs(name, state=state, finished_at=None)
    step(service)
    assert looks(service) == []
    service.set(away, status="active")
    step(service)
    assert [run.server_id for run in looks(service)] == [away]


def test_a_server_that_became_busy_meanwhile_is_left_alone(service: Service) -> None:
    """Between the question who is due and the run, somebody may ask for one."""
    [one] = due(service, 1)
    service.call("POST", f"/api/servers/{one}/runs", json={})
    assert not Looks(service.parts, OURSELVES)._queue(one)  # noqa: SLF001 - the moment cannot be met from outside
    assert [run["kind"] for run in service.runs(one) if run["state"] == "queued"] == ["provision"]


def test_what_somebody_asks_for_goes_first(service: Service) -> None:
    """A look waits while any run does that was asked for, of whatever organization, and however late."""
    due(service, 2)
    step(service)
    asked = [service.create(organization)["id"] for organization in ("one", "two", "two")]
    taken = [claim(service.parts.database, OURSELVES, service.settings) for _ in range(5)]
    servers = [one.server.id for one in taken if one is not None]
    assert set(servers[:3]) == set(asked)
    assert {run.server_id for run in looks(service)} == set(servers[3:])


def test_a_waiting_look_makes_place_for_a_run_that_is_asked_for(service: Service) -> None:
    """It is no reason to answer that the server is busy, neither alone nor in a batch."""
    one, other = due(service, 2)
    step(service)
    assert service.call("POST", f"/api/servers/{one}/runs", json={}).status_code == 202
    made = service.call("POST", "/api/runs", json={"servers": [other], "kind": "validate"}).json()
    assert (made["total"], made["refused"]) == (1, [])
    assert {run.state for run in looks(service)} == {RunState.CANCELLED}


def test_a_worker_looks_by_itself(service: Service) -> None:
    """The look is made, and `GET drift` says when and what."""
    [made] = due(service, 1)
    with service.worker(recording("already_so")):
        found = wait_for(
            lambda: (seen := service.call("GET", f"/api/servers/{made}/drift").json())["checkedAt"] and seen, "a look"
        )
    assert (found["drifted"], found["runId"]) == (False, looks(service)[0].id)
    assert service.get(made)["status"] == "active"


def test_nobody_looks_where_the_schedule_is_off(settings: Settings) -> None:
    """The default: drift is looked at where somebody asks."""
    assert settings.drift_interval_hours == 0
    with opened(settings) as service, service.worker() as worker:
        assert worker._looks is None  # noqa: SLF001 - that there is none
