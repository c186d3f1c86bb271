"""Batches: a run for each of many servers, so many at a time, with a summary, until too many have failed."""

from __future__ import annotations

import random
import threading
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func
from sqlmodel import col, select

from api.data.tables import Batch, Organization, Run, RunPriority, RunState, Server, now
from api.service import batches, batching
from api.work.claims import claim
from api.work.owner import new_owner
from api.work.upkeep.sweeper import Sweeper
from api.work.upkeep.tidier import tidy
from tests.service.pausing import Pausing
from tests.service.problems import pointers, problem
from tests.service.support import patiently, recording, wait_for

if TYPE_CHECKING:
    from api.work.claims import Claim
    from tests.service.support import Service

COUNTS = {"queued": 0, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}


def ready(service: Service, count: int, **fields: Any) -> list[str]:
    """Create servers that are active, with nothing to do."""
    made = [service.create(**fields)["id"] for _ in range(count)]
    for one in made:
        service.set(one, status="active", provisioned=True)
        service.set_runs(one, state=RunState.SUCCEEDED, finished_at=now())
    return made


def post(service: Service, **body: Any) -> dict[str, Any]:
    """Make a batch."""
    answer = service.call("POST", "/api/runs", json=body)
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/api/batches/{made['id']}"
    return made


def get(service: Service, batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch as it is now."""
    found: dict[str, Any] = service.call("GET", f"/api/batches/{batch['id']}").json()
    return found


def over(service: Service, batch: dict[str, Any]) -> dict[str, Any]:
    """Wait until a batch has ended, and return it."""

    def ended() -> dict[str, Any] | None:
        found = get(service, batch)
        return found if found["finishedAt"] else None

    found: dict[str, Any] = wait_for(ended, "the batch ends")
    return found


def take(service: Service) -> Claim | None:
    """Claim the next run."""
    return claim(service.parts.database, new_owner(), service.settings)


def end(service: Service, run: str, state: RunState = RunState.SUCCEEDED) -> None:
    """Let a run end, as its worker would."""
    with service.parts.database.write() as session:
        row = session.exec(select(Run).where(col(Run.id) == run)).one()
        row.state, row.finished_at = state, now()
        batching.ended(session, row)
        session.add(row)


@pytest.mark.promise("A2")
def test_servers_that_can_have_no_run_are_named_with_the_reason(service: Service) -> None:
    """The others get theirs; an unknown server and another organization's are told alike."""
    well = ready(service, 2)
    busy, going = service.create()["id"], service.create()["id"]
    service.call("DELETE", f"/api/servers/{going}")
    theirs = service.create("two")["id"]
    made = post(service, servers=[*well, well[0], busy, going, theirs, "x"], kind="drift")
    assert {one["serverId"]: one["code"] for one in made["refused"]} == {
        busy: "busy",
        going: "removing",
        theirs: "not_found",
        "x": "not_found",
    }
    assert all(one["detail"] for one in made["refused"])
    assert (made["total"], made["counts"], made["state"]) == (2, COUNTS | {"queued": 2}, "running")
    assert get(service, made) == made
    for one in well:
        run = service.runs(one)[0]
        assert (run["kind"], run["batchId"], run["state"]) == ("drift", made["id"], "queued")


def test_a_batch_that_nobody_can_join_has_ended(service: Service) -> None:
    """It is no error: every server is in the answer with its reason."""
    made = post(service, servers=["x"])
    assert (made["total"], made["state"], made["finishedAt"]) == (0, "finished", made["createdAt"])


def test_servers_are_chosen_by_status_and_words(service: Service) -> None:
    """Only those of the own organization that have the one and the other."""
    [web] = ready(service, 1, name="web one")
    ready(service, 1, name="mail one")
    [away] = ready(service, 1, name="web two")
    service.set(away, status="unreachable")
    service.create("two", name="web three")
    made = post(service, status="active", q="WEB", kind="drift")
    assert (made["total"], made["refused"]) == (1, [])
    assert service.runs(web)[0]["batchId"] == made["id"]
    assert post(service, q="two", kind="drift")["total"] == 1


def test_a_selection_is_one_or_the_other(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not go together is refused as a whole, with the field; nothing is queued."""
    [one, *_] = ready(service, 4)
    for body, where in (
        ({}, "/servers"),
        ({"servers": [one], "q": "x"}, "/servers"),
        ({"servers": []}, "/servers"),
        ({"servers": [one], "maxConcurrent": 0}, "/maxConcurrent"),
        ({"servers": [one], "maxFailures": -1}, "/maxFailures"),
        ({"servers": [one], "kind": "cleanup"}, "/kind"),
        ({"servers": [one], "kind": "drift", "force": True}, "/force"),
        ({"servers": [one], "steps": ["x"]}, "/steps/0"),
    ):
        assert where in pointers(service.call("POST", "/api/runs", json=body)), body
    monkeypatch.setattr(batches, "MAX_SERVERS", 3)
    assert pointers(service.call("POST", "/api/runs", json={"status": "active"})) == ["/q"]
    with service.parts.database.read() as session:
        assert session.exec(select(func.count()).select_from(Batch)).one() == 0


def test_a_batch_is_summed_up(service: Service) -> None:
    """Its runs end, some well and some not: the counts, each failure with its code, and from when to when."""
    servers = ready(service, 3)
    made = post(service, servers=servers, kind="validate", maxConcurrent=2)
    with service.worker():
        found = over(service, made)
    assert (found["state"], found["counts"], found["failures"]) == ("finished", COUNTS | {"succeeded": 3}, [])
    assert made["createdAt"] <= found["startedAt"] <= found["finishedAt"]
    again = post(service, servers=servers, force=True)
    with service.worker(recording("memory_low")):
        found = over(service, again)
    assert (found["state"], found["counts"]) == ("finished", COUNTS | {"failed": 3})
    assert {(one["serverId"], one["errorCode"]) for one in found["failures"]} == {
        (one, "memory_low") for one in servers
    }
    assert all(one["message"] for one in found["failures"])


def test_a_batch_has_as_many_places_as_it_says(service: Service) -> None:
    """Three at a time are three, and not a fourth."""
    post(service, servers=ready(service, 5), kind="drift", maxConcurrent=3)
    assert [take(service) is not None for _ in range(4)] == [True, True, True, False]


def test_no_more_runs_of_a_batch_go_on_than_it_allows(service: Service) -> None:
    """However many claim at the same time; and every run gets its turn."""
    made = post(service, servers=ready(service, 12), kind="drift", maxConcurrent=2)
    going: list[int] = []
    most: list[int] = []
    guard, begin = threading.Lock(), threading.Barrier(6)

    def work() -> None:
        begin.wait()
        deadline = time.monotonic() + 60
        while len(most) < made["total"] and time.monotonic() < deadline:
            one = patiently(deadline, lambda: take(service))
            if one is None:
                time.sleep(0.01)
                continue
            with guard:
                going.append(1)
                most.append(len(going))
            time.sleep(random.random() / 20)  # noqa: S311 - no secret
            with guard:
                going.pop()
            patiently(deadline, partial(end, service, one.id))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most) <= 2) == (12, True)
    assert get(service, made)["counts"] == COUNTS | {"succeeded": 12}


def test_a_run_says_that_it_waits_for_its_batch(service: Service) -> None:
    """And once there is a place, it waits for a worker only."""
    made = post(service, servers=ready(service, 2), kind="drift", maxConcurrent=1)
    one = take(service)
    assert one is not None
    assert take(service) is None
    servers = [server["id"] for server in service.call("GET", "/api/servers").json()["servers"]]
    newest = [service.runs(server)[0] for server in servers]
    assert [run["message"] for run in newest if run["state"] == "queued"] == [batching.WAITS]
    end(service, one.id)
    assert get(service, made)["counts"] == COUNTS | {"queued": 1, "succeeded": 1}
    assert take(service) is not None


def test_a_large_batch_holds_up_no_other_run(service: Service) -> None:
    """A run that somebody asks for later does not wait behind what its batch keeps waiting."""
    post(service, servers=ready(service, 12), kind="drift", maxConcurrent=1)
    assert take(service) is not None
    [other] = ready(service, 1)
    service.call("POST", f"/api/servers/{other}/runs", json={"kind": "drift"})
    taken = take(service)
    assert taken is not None
    assert taken.server.id == other


def test_a_batch_stops_after_so_many_failures(service: Service) -> None:
    """No run begins after them, and those that wait are ended by the next sweep."""
    made = post(service, servers=ready(service, 5), kind="provision", force=True, maxConcurrent=1, maxFailures=2)
    with service.worker(recording("memory_low")):
        found = over(service, made)
    assert (found["state"], found["counts"]) == ("stopped", COUNTS | {"failed": 2, "cancelled": 3})
    assert len(found["failures"]) == 2


def test_the_last_failure_stops_a_batch_at_once(service: Service) -> None:
    """Before any sweep: the claim itself holds to it."""
    post(service, servers=ready(service, 3), kind="drift", maxConcurrent=1, maxFailures=1)
    one = take(service)
    assert one is not None
    end(service, one.id, RunState.FAILED)
    assert take(service) is None


def test_a_batch_is_cancelled_as_a_whole(service: Service) -> None:
    """What waits and what goes on ends; it is refused for a batch that has ended."""
    made = post(service, servers=ready(service, 4), kind="provision", force=True, maxConcurrent=2)
    transport = Pausing()
    with service.worker(transport):
        transport.wait()
        answer = service.call("POST", f"/api/batches/{made['id']}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "stopping")
        found = over(service, made)
    assert (found["state"], found["counts"]) == ("cancelled", COUNTS | {"cancelled": 4})
    problem(service.call("POST", f"/api/batches/{made['id']}/cancel"), 409, "batch_ended")


def test_a_cancelled_batch_begins_nothing_before_the_sweep(service: Service) -> None:
    """The claim does not take what is only not ended yet."""
    made = post(service, servers=ready(service, 2), kind="drift")
    assert service.call("POST", f"/api/batches/{made['id']}/cancel").status_code == 202
    assert take(service) is None
    Sweeper(service.parts, new_owner()).sweep()
    assert get(service, made)["counts"] == COUNTS | {"cancelled": 2}


@pytest.mark.promise("A2")
def test_another_organization_s_batch_is_not_there(service: Service) -> None:
    """It is told like one that never was."""
    made = post(service, servers=ready(service, 1), kind="drift")
    stranger = service.token(organization="two")
    for method, path in (("GET", ""), ("POST", "/cancel")):
        problem(service.call(method, f"/api/batches/{made['id']}{path}", token=stranger), 404, "not_found")


def test_old_batches_go_with_their_runs(service: Service) -> None:
    """One whose runs are kept is kept."""
    ready_ones = ready(service, 2)
    made = [post(service, servers=[one], kind="drift") for one in ready_ones]
    old = now() - timedelta(days=service.settings.logs_days + 1)
    with service.parts.database.write() as session:
        for batch in session.exec(select(Batch)).all():
            batch.created_at = old
        session.delete(session.get(Server, ready_ones[0]))
    tidy(service.parts)
    codes = [service.call("GET", f"/api/batches/{one['id']}").status_code for one in made]
    assert codes == [404, 200]


def test_batches_are_listed_newest_first_in_pages(service: Service) -> None:
    """And nobody sees another organization's."""
    servers = ready(service, 1)
    made = []
    for _ in range(3):
        made.insert(0, post(service, servers=servers, kind="drift")["id"])
        service.set_runs(servers[0], state=RunState.SUCCEEDED, finished_at=now())
    first = service.call("GET", "/api/batches?limit=2")
    assert [one["id"] for one in first.json()["batches"]] == made[:2]
    rest = service.call("GET", first.links["next"]["url"])
    assert [one["id"] for one in rest.json()["batches"]] == made[2:]
    assert "next" not in rest.links
    stranger = service.token(organization="two")
    assert service.call("GET", "/api/batches", token=stranger).json() == {"batches": []}


def test_a_choice_of_no_server_is_over_at_once(service: Service) -> None:
    """Somebody who has all failed servers tried again wants no error where none has failed."""
    ready(service, 1)
    made = post(service, status="error")
    assert (made["total"], made["state"], made["refused"]) == (0, "finished", [])


def test_a_batch_beyond_the_quota_is_refused_whole(service: Service) -> None:
    """Nothing of it is done; looks that nobody asked for do not count."""
    servers = ready(service, 3)
    with service.parts.database.write() as session:
        session.exec(select(Organization).where(col(Organization.name) == "one")).one().quota_runs = 2
    problem(service.call("POST", "/api/runs", json={"servers": servers}), 403, "quota_exceeded")
    assert [len(service.runs(one)) for one in servers] == [1, 1, 1]
    assert service.call("GET", "/api/batches").json() == {"batches": []}
    service.call("POST", f"/api/servers/{servers[0]}/runs", json={"kind": "drift"})
    service.set_runs(servers[0], priority=RunPriority.BACKGROUND)
    assert post(service, servers=servers[1:])["total"] == 2


def test_the_audit_log_does_not_repeat_a_batch_for_each_of_its_runs(service: Service) -> None:
    """Its own entry says how it was chosen; each run's entry names its server and the batch."""
    servers = ready(service, 2)
    batch = post(service, servers=servers, force=True)
    entries = service.call("GET", "/api/audit").json()["entries"]
    own = next(one for one in entries if one["action"] == "batch.create")
    assert {"field": "total", "before": None, "after": "2"} in own["changes"]
    assert servers[0] not in str(own)
    of_runs = [one for one in entries if one["action"] == "run.create"][:2]
    assert {one["serverId"] for one in of_runs} == set(servers)
    for one in of_runs:
        told = {change["field"]: change["after"] for change in one["changes"]}
        assert told == {"batchId": batch["id"], "force": "true", "kind": "provision", "steps": ""}


def test_the_runs_of_a_batch_are_listed(service: Service) -> None:
    """And no others, in pages."""
    servers = ready(service, 3)
    batch = post(service, servers=servers[:2], kind="drift")
    first = service.call("GET", f"/api/batches/{batch['id']}/runs?limit=1")
    rest = service.call("GET", first.links["next"]["url"])
    found = first.json()["runs"] + rest.json()["runs"]
    assert {run["batchId"] for run in found} == {batch["id"]}
    assert sorted(run["id"] for run in found) == sorted(service.runs(one)[0]["id"] for one in servers[:2])
    assert "next" not in rest.links
