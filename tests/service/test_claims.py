"""Claims: each run is claimed once, the fairest first, and never more at a server than it allows."""

from __future__ import annotations

import contextlib
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from api.data.database import AWAY
from api.data.locks import lock_server
from api.data.tables import Run, RunKind, RunState, Server, now
from api.data.tables import Session as Slot
from api.work import sessions
from api.work.claims import claim
from api.work.owner import new_owner
from tests.service.support import wait_for

if TYPE_CHECKING:
    from api.work.claims import Claim
    from tests.service.support import Service


def queue(service: Service, count: int, organization: str = "one", **columns: object) -> list[str]:
    """Put servers into the database, each with a run that waits; return the runs."""
    whose, made = service.organization(organization), []
    with service.parts.database.write() as session:
        for number in range(count):
            values = {"ssh_user": "root", "auth_method": "key", "max_ssh_sessions": 5, "proxy_type": "none", **columns}
            host = f"s{number}.{organization}.example"
            server = Server(organization_id=whose, name=f"s{number}", host=host, port=22, **values)
            session.add(server)
            session.flush()
            made.append(a_run(server))
            session.add(made[-1])
            session.flush()
    return [run.id for run in made]


def a_run(server: Server, state: RunState = RunState.QUEUED) -> Run:
    """Return a new run of a server."""
    return Run(
        server_id=server.id,
        organization_id=server.organization_id,
        kind=RunKind.PROVISION,
        state=state,
        generation=server.generation,
    )


def take(service: Service) -> Claim | None:
    """Claim the next run."""
    return claim(service.parts.database, new_owner(), service.settings)


def slots(service: Service, count: int) -> list[str]:
    """Claim for as many slots, and return whose runs were claimed, in order."""
    names = {number: name for name, number in service.organizations.items()}
    taken = [take(service) for _ in range(count)]
    return [names[one.run.organization_id] for one in taken if one is not None]


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.RUNNING])
def test_the_database_lets_one_run_of_a_server_wait_and_one_go_on(service: Service, state: RunState) -> None:
    """A second run in the same state is refused, whatever the program thinks; one that has ended counts no more."""
    queue(service, 1)
    service.set_runs(service.call("GET", "/api/servers").json()["servers"][0]["id"], state=state)
    with pytest.raises(IntegrityError), service.parts.database.write() as session:
        session.add(a_run(session.exec(select(Server)).one(), state))
    with service.parts.database.write() as session:
        session.add(a_run(session.exec(select(Server)).one(), RunState.SUCCEEDED))


@pytest.mark.promise("A15")
def test_eight_workers_claim_sixty_runs_once_each(service: Service) -> None:
    """Whoever claims at the same time, each run goes to one of them, with its first attempt and fence."""
    waiting = queue(service, 60)
    taken: list[Claim] = []
    begin = threading.Barrier(8)

    def work() -> None:
        begin.wait()
        # SQLite's lock goes to anybody: who waited in vain for it is rung for again, too.
        with contextlib.suppress(*AWAY):
            while (one := take(service)) is not None:
                taken.append(one)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # Who was slower with all that it had seen finds nothing, and is rung for again: so here.
    while (one := take(service)) is not None:
        taken.append(one)
    assert sorted(one.id for one in taken) == sorted(waiting)
    assert {(one.run.attempt, one.run.fence) for one in taken} == {(1, 1)}


@pytest.mark.promise("F32", "A12")
def test_a_small_organization_does_not_wait_behind_a_large_one(service: Service) -> None:
    """Of four free slots a second organization's two runs get two, though thirty came before them."""
    queue(service, 30, "large")
    queue(service, 2, "small")
    assert sorted(slots(service, 4)) == ["large", "large", "small", "small"]
    assert slots(service, 3) == ["large"] * 3


@pytest.mark.promise("A12")
def test_who_has_more_going_on_waits(service: Service) -> None:
    """An organization that fills every slot gets the next one only after those that have none."""
    queue(service, 30, "large")
    assert slots(service, 6) == ["large"] * 6
    queue(service, 3, "small")
    assert slots(service, 3) == ["small"] * 3
    assert slots(service, 1) == ["large"]


@pytest.mark.promise("F32")
def test_no_organization_has_a_claim_on_all_slots(service: Service) -> None:
    """Three organizations share: after any number of claims none is more than one ahead of another that waits."""
    for name in ("a", "b", "c"):
        queue(service, 5, name)
    order = slots(service, 15)
    assert len(order) == 15
    for count in range(1, 16):
        figures = [order[:count].count(name) for name in ("a", "b", "c")]
        assert max(figures) - min(figures) <= 1


def test_a_probe_that_has_the_only_connection_is_waited_for(service: Service) -> None:
    """With maxSshSessions 1 a run is not claimed while a probe is connected, and is claimed once it has ended."""
    [name] = queue(service, 1, max_ssh_sessions=1)
    with service.parts.database.write() as session:
        server = lock_server(session, session.exec(select(Server.id)).one())
        assert server is not None
        assert sessions.take(session, server, "probe", 60)
    assert take(service) is None
    with service.parts.database.read() as session:
        assert session.exec(select(Run.state)).one() == RunState.QUEUED
    with service.parts.database.write() as session:
        sessions.give_back(session, "probe")
    taken = take(service)
    assert taken is not None
    assert taken.id == name


def test_connections_are_counted_up_to_the_servers_limit(service: Service) -> None:
    """As many connections are given as the server allows, over all who ask, and no more."""
    queue(service, 1, max_ssh_sessions=3)
    with service.parts.database.write() as session:
        server = lock_server(session, session.exec(select(Server.id)).one())
        assert server is not None
        given = [sessions.take(session, server, f"holder-{number}", 60) for number in range(4)]
    assert given == [True, True, True, False]
    assert take(service) is None


def test_a_connection_whose_holder_is_silent_is_free_again(service: Service) -> None:
    """A probe that was killed keeps its server's connection only until its time is over."""
    queue(service, 1, max_ssh_sessions=1)
    with service.parts.database.write() as session:
        server = session.exec(select(Server)).one()
        session.add(Slot(id="killed", server_id=server.id, until=now() - timedelta(seconds=1)))
    taken = take(service)
    assert taken is not None
    with service.parts.database.read() as session:
        assert session.exec(select(Slot.id)).all() == [taken.id]


def test_a_monitor_that_died_before_the_clock_was_set_back_has_its_connection_still(service: Service) -> None:
    """A holder that asks again has one connection, not an error and not two."""
    queue(service, 1, max_ssh_sessions=1)
    with service.parts.database.write() as session:
        server = lock_server(session, session.exec(select(Server.id)).one())
        assert server is not None
        assert sessions.take(session, server, "probe", 3600)
        assert sessions.take(session, server, "probe", 60)
        assert not sessions.take(session, server, "another", 60)
        [slot] = session.exec(select(Slot)).all()
    assert slot.until < now() + timedelta(seconds=90)


def test_a_server_with_a_run_going_on_gets_no_second_one(service: Service) -> None:
    """A run that waits behind another of the same server is claimed once that one has ended."""
    queue(service, 1)
    first = take(service)
    assert first is not None
    with service.parts.database.write() as session:
        second = a_run(session.exec(select(Server)).one())
        session.add(second)
    assert take(service) is None
    with service.parts.database.write() as session:
        run = session.exec(select(Run).where(col(Run.id) == first.id)).one()
        run.state = RunState.SUCCEEDED
        session.add(run)
        sessions.give_back(session, run.id)
    taken = take(service)
    assert taken is not None
    assert taken.id == second.id


def test_a_server_that_cannot_be_reached_yet_holds_up_no_other(service: Service) -> None:
    """A run whose server has no connection free is passed over."""
    [_, other] = queue(service, 2, max_ssh_sessions=1)
    with service.parts.database.write() as session:
        server = session.exec(select(Server).where(col(Server.name) == "s0")).one()
        session.add(Slot(id="probe", server_id=server.id, until=now() + timedelta(seconds=60)))
    taken = take(service)
    assert taken is not None
    assert taken.id == other
    assert take(service) is None


def test_many_servers_without_a_free_connection_hold_up_no_other(service: Service) -> None:
    """However many runs of an organization have to wait for a connection, one that has not is claimed."""
    waiting = queue(service, 20, max_ssh_sessions=1)
    with service.parts.database.write() as session:
        for server in session.exec(select(Server).where(col(Server.name) != "s19")).all():
            session.add(Slot(id=server.id, server_id=server.id, until=now() + timedelta(seconds=60)))
    taken = wait_for(lambda: take(service), "the last one is claimed", 2)
    assert taken.id == waiting[-1]
