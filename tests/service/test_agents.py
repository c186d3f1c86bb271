"""Agents: their tokens, their heartbeats, how they stand, and what is known from them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, update
from sqlmodel import col, select

import ocore
from api.commands import keys
from api.data.locks import lock_server
from api.data.tables import AgentStatus, RunState, Sample, Server, ServerStatus, now
from api.errors import Problem
from api.parts import ENCRYPTION
from api.schemas.agents import Heartbeat
from api.security.seal import SealBroken
from api.security.tokens import VIEW
from api.service import agents, standing, telling
from api.service.mapping import AGENT_TOKEN, binding
from api.settings import Settings
from api.work.upkeep.monitor import Monitor
from api.work.upkeep.tidier import tidy
from ocore.cli import main
from ocore.testing import ReplayTransport
from tests.service.pausing import Pausing
from tests.service.problems import problem
from tests.service.support import RECORDINGS, opened, wait_for
from tests.unit import streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx2

    from tests.service.support import Service

URL = "https://ocore.example.org"
GIB = 2**30
HARDWARE = {"cpu_cores": 4, "ram_total_bytes": 8 * GIB, "disk_total_bytes": 256 * GIB, "disk_free_bytes": 200 * GIB}
HOST_KEY = json.loads((RECORDINGS / "already_so.jsonl").read_text(encoding="utf-8").splitlines()[0])["host_key"]
TOLD: dict[str, Any] = {
    "version": "1.0.0",
    "load": 0.5,
    "memoryTotalBytes": 8 * GIB,
    "memoryAvailableBytes": 6 * GIB,
    "diskTotalBytes": 256 * GIB,
    "diskFreeBytes": 200 * GIB,
    "docker": "running",
    "uptimeSeconds": 100,
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings of a service that has agents."""
    return settings.model_copy(update={"agent_url": URL})


def row(service: Service, server: str) -> Server:
    """Return a server's row."""
    with service.parts.database.read() as session:
        return session.exec(select(Server).where(col(Server.id) == server)).one()


def token_of(service: Service, server: str) -> str:
    """Return the token that runs hand on."""
    found = row(service, server)
    assert found.sealed_agent_token is not None
    return service.parts.seal.open(found.sealed_agent_token, binding(found, AGENT_TOKEN))


def beat(service: Service, token: str, **changes: Any) -> httpx2.Response:
    """Send a heartbeat."""
    return service.call("POST", "/api/agent/heartbeat", token=token, json=TOLD | changes)


def let_pass(service: Service, server: str, **since: float) -> None:
    """Let time pass for a server: what was heard of it is as long ago."""
    found = row(service, server)
    ago = timedelta(**since)
    seen, began = found.agent_last_seen_at, found.agent_since
    service.set(server, agent_last_seen_at=seen and seen - ago, agent_since=began and began - ago)


def recording(name: str) -> ReplayTransport:
    """Return a transport that plays a recording, with the key that `provided` pins."""
    return ReplayTransport(RECORDINGS / f"{name}.jsonl")


def samples(service: Service) -> int:
    """Return how many heartbeats are kept."""
    with service.parts.database.read() as session:
        return session.exec(select(func.count()).select_from(Sample)).one()


def stands(service: Service, server: str) -> str:
    """Return how a server's agent stands."""
    return str(service.get(server)["agentStatus"])


def handed_on(transport: ReplayTransport) -> list[str | None]:
    """Return the token that each play was given."""
    inventories = [order["inventory"] for order in transport.orders if order["op"] == "play"]
    lines = [[line for line in text.splitlines() if "agent_token" in line] for text in inventories]
    return [line[0].partition(": ")[2].strip('"') if line else None for line in lines]


def run(service: Service, server: str, transport: ReplayTransport, **body: Any) -> dict[str, Any]:
    """Make a run, and return it when it has ended."""
    asked = service.call("POST", f"/api/servers/{server}/runs", json=body)
    assert asked.status_code == 202, asked.text
    return ended(service, asked.json()["id"], transport)


def ended(service: Service, name: str, transport: ReplayTransport) -> dict[str, Any]:
    """Have a run made that waits."""
    with service.worker(transport):
        found: dict[str, Any] = wait_for(
            lambda: (at := service.call("GET", f"/api/runs/{name}").json())["finishedAt"] and at, "the run ends"
        )
    return found


def provided(service: Service) -> str:
    """Make a server that was provisioned, with a token for its agent."""
    server = str(service.create()["id"])
    service.set_runs(server, state=RunState.SUCCEEDED)
    active = {"status": ServerStatus.ACTIVE, "provisioned": True, "touched": True, "host_key": HOST_KEY}
    service.set(server, **active, agent_status=AgentStatus.INSTALLING, agent_since=now(), **HARDWARE)
    with service.parts.database.write() as session:
        agents.token_for(session, lock_server(session, server), service.parts.seal, anew=False)  # type: ignore[arg-type]
    return server


@pytest.fixture
def made(service: Service) -> str:
    """Return a server with an agent."""
    return provided(service)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return one service for all tests of what is the same on every storage."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), monitor=False, agent_url=URL)
    with opened(settings) as found:
        yield found


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_is_made_once_and_kept(service: Service) -> None:
    """The first run brings it, drift and the second run find it as it was, and no answer has it in it."""
    server = service.create()["id"]
    transport = recording("bare")
    with service.worker(transport):
        service.until(server, "active")
    token = token_of(service, server)
    run(service, server, again := recording("already_so"))
    run(service, server, looked := recording("already_so"), kind="drift")
    assert handed_on(transport) == handed_on(again) == handed_on(looked) == [token]
    assert row(service, server).agent_token_hash == agents.digest(token)
    told = [service.get(server), service.runs(server), service.call("GET", f"/api/servers/{server}/plan").json()]
    assert token not in json.dumps(told)
    assert token.encode() not in (row(service, server).sealed_agent_token or b"")


def test_a_forced_run_of_the_agent_brings_a_new_one(service: Service, made: str) -> None:
    """One that has to do with the agent, and no other; the old token is worthless then."""
    for steps in ([], ["agent"], ["docker"]):
        old = token_of(service, made)
        run(service, made, transport := recording("already_so"), force=True, steps=steps)
        new = token_of(service, made)
        assert handed_on(transport) == [new]
        assert (new == old) == (steps == ["docker"])
        assert beat(service, old).status_code == (204 if steps == ["docker"] else 401)


def test_a_look_makes_no_token(service: Service, made: str) -> None:
    """Where there is none it compares with one that nobody has, so that the agent's step is told to be due."""
    service.call("POST", f"/api/servers/{made}/reset-host-key")
    found = run(service, made, transport := recording("already_so"), kind="drift")
    assert found["state"] == "succeeded"
    [token] = handed_on(transport)
    assert token
    assert token.startswith("oca_")
    assert (row(service, made).sealed_agent_token, row(service, made).agent_token_hash) == (None, None)
    problem(beat(service, token), 401, "unauthorized")


def test_a_token_that_ends_while_it_is_brought_is_told(service: Service) -> None:
    """The agent is in error, and the run and the server say what to do; the next run brings another token."""
    server = service.create()["id"]
    transport = Pausing()
    with service.worker(transport):
        transport.wait()
        assert service.call("POST", f"/api/servers/{server}/reset-host-key").status_code == 200
        transport.go.set()
        found = service.until(server, "active")
    assert stands(service, server) == "error"
    assert "a token that was made worthless meanwhile" in found["statusMessage"]
    assert service.runs(server)[0]["message"] == found["statusMessage"]
    run(service, server, pausing := Pausing(after=-1), steps=["agent"])
    assert handed_on(pausing) == [token_of(service, server)]
    assert beat(service, token_of(service, server)).status_code == 204
    assert stands(service, server) == "connected"


def test_a_rotated_token_is_worthless_at_once(service: Service, made: str) -> None:
    """From the answer on; the run that was queued has the agent's step alone, and brings the new token."""
    old = token_of(service, made)
    asked = service.call("POST", f"/api/servers/{made}/agent-token")
    assert asked.status_code == 202
    assert asked.headers["Location"] == f"/api/runs/{asked.json()['id']}"
    assert (asked.json()["kind"], asked.json()["steps"], asked.json()["force"]) == ("provision", ["agent"], False)
    problem(beat(service, old), 401, "unauthorized")
    problem(service.call("POST", f"/api/servers/{made}/agent-token"), 409, "busy")
    assert row(service, made).sealed_agent_token is None
    ended(service, asked.json()["id"], transport := recording("already_so"))
    assert handed_on(transport) == [token_of(service, made)] != [old]
    assert beat(service, token_of(service, made)).status_code == 204


def test_a_rotation_is_made_once_and_told(service: Service, made: str) -> None:
    """As every other POST: the same key makes it once, and the audit log says who did it."""
    path, headers = f"/api/servers/{made}/agent-token", {"Idempotency-Key": "one"}
    first = service.call("POST", path, headers=headers)
    again = service.call("POST", path, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    told = service.call("GET", "/api/audit", params={"action": "server.rotate-agent-token"}).json()["entries"]
    assert [(one["serverId"], one["actor"]["name"]) for one in told] == [(made, "tester")]


def test_a_refused_rotation_changes_nothing(shared: Service) -> None:
    """A server that is being removed keeps its token until it is gone."""
    server = provided(shared)
    token = token_of(shared, server)
    shared.set(server, status=ServerStatus.REMOVING)
    problem(shared.call("POST", f"/api/servers/{server}/agent-token"), 409, "removing")
    assert token_of(shared, server) == token


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/reset-host-key", None), ("PUT", "", {"host": "198.51.100.9"}), ("PUT", "", {"port": 2222})],
)
def test_another_machine_gets_another_token(
    shared: Service, method: str, path: str, body: dict[str, Any] | None
) -> None:
    """After a reset of the host key, or at another address, the old token is worthless; the next run makes another."""
    server = provided(shared)
    old = token_of(shared, server)
    assert shared.call(method, f"/api/servers/{server}{path}", json=body).status_code == 200
    problem(beat(shared, old), 401, "unauthorized")
    assert row(shared, server).sealed_agent_token is None


@pytest.mark.parametrize("body", [{"name": "new"}, {"proxyType": "none"}, {"sshUser": "admin"}])
def test_another_way_to_the_same_machine_keeps_the_token(shared: Service, body: dict[str, Any]) -> None:
    """What does not make it another machine does not end its agent's token."""
    server = provided(shared)
    assert shared.call("PUT", f"/api/servers/{server}", json=body).status_code == 200
    assert beat(shared, token_of(shared, server)).status_code == 204


def test_a_token_is_sealed_anew_with_a_new_key(
    service: Service, made: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ocore keys drop encryption` keeps it; and without its key the service says so rather than make another one."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    token, before = token_of(service, made), row(service, made).sealed_agent_token
    assert main(["keys", "rotate", ENCRYPTION]) == 0
    assert main(["keys", "drop", ENCRYPTION]) == 0
    assert keys._SEALED.keys() == {"sshPrivateKey", "sshPassword", "agentToken"}  # noqa: SLF001 - each secret's column
    assert row(service, made).sealed_agent_token != before
    assert token_of(service, made) == token
    found = row(service, made)
    with pytest.raises(SealBroken):
        service.parts.seal.open(before or b"", binding(found, AGENT_TOKEN))


def test_of_a_removed_server_nothing_is_left(service: Service, made: str) -> None:
    """Its token is worthless, and what was told of it is gone."""
    token = token_of(service, made)
    beat(service, token)
    assert service.call("DELETE", f"/api/servers/{made}").status_code == 202
    with service.worker(recording("cleaned")):
        wait_for(lambda: service.call("GET", f"/api/servers/{made}").status_code == 404, "it is gone")
    problem(beat(service, token), 401, "unauthorized")
    assert samples(service) == 0


# --- heartbeats -------------------------------------------------------------------------------------------------------


def test_a_heartbeat_makes_a_server_known(service: Service, made: str) -> None:
    """Its agent is connected, with its version and when it was heard of; it is a sign of life of the server as well."""
    assert stands(service, made) == "installing"
    before = service.get(made)
    assert (before["agentVersion"], before["agentLastSeenAt"]) == (None, None)
    service.set(made, last_seen_at=None)
    answer = beat(service, token_of(service, made))
    assert (answer.status_code, answer.content) == (204, b"")
    found = service.get(made)
    assert (found["agentStatus"], found["agentVersion"]) == ("connected", "1.0.0")
    assert found["agentLastSeenAt"] == found["lastSeenAt"] is not None


def test_only_a_servers_own_token_is_taken(shared: Service) -> None:
    """No other token, however good, is; and an agent's opens no other door."""
    service, made = shared, provided(shared)
    token = token_of(service, made)
    for other in ("", "x", service.token(), service.token([VIEW]), token[:-1], token + "x", token.upper(), "oca_" * 11):
        answer = beat(service, other)
        problem(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert not other or other not in answer.text
    for path in ("/api/servers", f"/api/servers/{made}", "/api/agent/heartbeat/", "/api/agent"):
        problem(service.call("GET", path, token=token), 401, "unauthorized")
    assert stands(service, made) == "installing"


def test_one_agent_tells_nothing_of_another_server(shared: Service) -> None:
    """A token stands for its server, whatever the body says."""
    service, made = shared, provided(shared)
    other = service.create()["id"]
    assert beat(service, token_of(service, made), server=other, serverId=other, id=other).status_code == 204
    assert stands(service, made) == "connected"
    assert stands(service, other) == "not_installed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": ""},
        {"version": "1\n"},
        {"version": "x" * 33},
        {"load": -1},
        {"load": 1e9},
        {"load": "much"},
        {"memoryTotalBytes": -1},
        {"memoryTotalBytes": 2**63},
        {"memoryTotalBytes": 1.5},
        {"diskFreeBytes": True},
        {"diskFreeBytes": None},
        {"docker": "<script>"},
        {"uptimeSeconds": 2**63},
    ],
)
def test_absurd_figures_are_refused(shared: Service, wrong: dict[str, Any]) -> None:
    """Nothing of such a heartbeat is kept."""
    service, made = shared, provided(shared)
    told = problem(beat(service, token_of(service, made), **wrong), 422, "invalid")
    assert told["errors"][0]["pointer"] == f"/{next(iter(wrong))}"
    assert stands(service, made) == "installing"


def test_a_heartbeat_is_bounded(shared: Service) -> None:
    """More than 4 KiB, no JSON, or JSON that is not declared as such: refused. What is not known is passed over."""
    service, made = shared, provided(shared)
    token = token_of(service, made)
    problem(beat(service, token, more="x" * 5000), 413, "too_large")
    headers = {"Content-Type": "application/json"}
    path = "/api/agent/heartbeat"
    problem(service.call("POST", path, token=token, content=b"{", headers=headers), 400, "malformed")
    problem(service.call("POST", path, token=token, content=json.dumps(TOLD).encode()), 415)
    assert beat(service, token, ofTheFuture=1).status_code == 204


def test_heartbeats_that_come_too_fast_are_refused(service: Service, made: str) -> None:
    """At most one in five seconds for each token; the answer says when to come again, and others are not held up."""
    other = provided(service)
    assert beat(service, token_of(service, made)).status_code == 204
    answer = beat(service, token_of(service, made))
    problem(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 6
    assert beat(service, token_of(service, other)).status_code == 204
    let_pass(service, made, seconds=5)
    assert beat(service, token_of(service, made)).status_code == 204


def test_a_clock_that_was_wrong_shuts_nobody_out(shared: Service) -> None:
    """A last heartbeat that lies far ahead is no reason to refuse the next one."""
    service, made = shared, provided(shared)
    service.set(made, agent_last_seen_at=now() + timedelta(days=1))
    assert beat(service, token_of(service, made)).status_code == 204


def test_a_token_that_ends_on_the_way_is_refused(shared: Service) -> None:
    """Between the gate and the transaction it may have been made worthless."""
    service, made = shared, provided(shared)
    with service.parts.database.read() as session:
        sender = agents.sender(session, token_of(service, made))
    service.set(made, agent_token_hash=None)
    with pytest.raises(Problem, match="unauthorized"):
        agents.take(service.parts, sender, Heartbeat.model_validate(TOLD))


# --- how an agent stands ----------------------------------------------------------------------------------------------


def test_silence_makes_an_agent_stale_and_a_heartbeat_connected(service: Service, made: str) -> None:
    """Two minutes of silence say nothing, more does; nobody has to write that down; and one heartbeat is enough."""
    token = token_of(service, made)
    beat(service, token)
    let_pass(service, made, seconds=90)
    assert stands(service, made) == "connected"
    let_pass(service, made, seconds=31)
    assert stands(service, made) == "stale"
    assert row(service, made).agent_status == "connected"
    assert beat(service, token).status_code == 204
    assert stands(service, made) == "connected"


@pytest.mark.parametrize(("interval", "limit"), [(10, 120), (40, 120), (41, 123), (600, 1800)])
def test_the_limit_is_three_heartbeats_or_two_minutes(interval: int, limit: int) -> None:
    """Whichever is longer."""
    given, moment = Settings(agent_interval=interval), now()
    for seconds, status in ((limit, "connected"), (limit + 1, "stale")):
        seen = moment - timedelta(seconds=seconds)
        server = Server(agent_status=AgentStatus.CONNECTED, agent_last_seen_at=seen)  # type: ignore[call-arg]
        assert standing.status(server, given, moment) == status


def test_an_agent_that_is_never_heard_of_is_stale(shared: Service) -> None:
    """It is being installed for as long as its first heartbeat may take."""
    service, made = shared, provided(shared)
    assert stands(service, made) == "installing"
    let_pass(service, made, seconds=121)
    assert stands(service, made) == "stale"


def _failing() -> ReplayTransport:
    """Return a run whose agent's step fails."""
    failed = streams.event("runner_on_failed", "Start the agent", "agent", msg="no")
    start = streams.event("playbook_on_task_start", "Start the agent", "agent")
    stream = [*streams.begin(), streams.look("agent", "verify"), start, failed, streams.end(2)]
    # The tests' servers have the key of the recordings.
    _, *answers = streams.lines(*stream)
    return ReplayTransport([json.dumps({"host_key": HOST_KEY}), *answers])


def test_a_failed_step_is_an_error_until_the_next_heartbeat(service: Service, made: str) -> None:
    """The server's agent is in error; if it runs all the same, it is connected again."""
    found = run(service, made, _failing())
    assert found["state"] == "failed"
    assert stands(service, made) == "error"
    beat(service, token_of(service, made))
    assert stands(service, made) == "connected"


def test_a_run_that_does_not_reach_the_agent_says_nothing_of_it(service: Service, made: str) -> None:
    """Neither where it was never installed, nor where it is connected."""
    other = service.create()["id"]
    with service.worker(recording("memory_low")):
        service.until(other, "error")
    assert stands(service, other) == "not_installed"
    beat(service, token_of(service, made))
    run(service, made, recording("memory_low"))
    assert stands(service, made) == "connected"


def test_a_service_without_agents_takes_them_away(service: Service, made: str) -> None:
    """With the address emptied, the next run takes the agent away: it is not installed, and its token worthless."""
    token = token_of(service, made)
    beat(service, token)
    without = service.settings.model_copy(update={"agent_url": ""})
    with opened(without) as other:
        other.organizations |= service.organizations
        run(other, made, transport := recording("already_so"))
        assert handed_on(transport) == [None]
        found = other.get(made)
        assert (found["agentStatus"], found["agentVersion"], found["agentLastSeenAt"]) == ("not_installed", None, None)
        problem(beat(other, token), 401, "unauthorized")
        problem(other.call("POST", f"/api/servers/{made}/agent-token"), 409, "no_agent")
    assert row(service, made).sealed_agent_token is None


# --- the monitor ------------------------------------------------------------------------------------------------------


def test_a_heartbeat_brings_a_server_back(service: Service, made: str) -> None:
    """An unreachable one is active again, without a run; in another state it stays as it is."""
    runs = len(service.runs(made))
    service.set(made, status=ServerStatus.UNREACHABLE, status_message="x", misses=3)
    assert beat(service, token_of(service, made)).status_code == 204
    found = service.get(made)
    assert (found["status"], len(service.runs(made)), row(service, made).misses) == ("active", runs, 0)
    service.set(made, status=ServerStatus.ERROR, agent_last_seen_at=None)
    assert beat(service, token_of(service, made)).status_code == 204
    assert service.get(made)["status"] == "error"


def _due(service: Service) -> str | None:
    """Return the server that the monitor would look at now."""
    found = Monitor(service.parts, "tester")._next()  # noqa: SLF001 - which one it takes is the matter
    return found.id if found else None


@pytest.mark.parametrize(
    ("heard", "looked", "due"),
    [
        (None, 1, True),  # never heard of: as without an agent
        (10, 1, False),  # fresh: nobody has to be asked
        (59, 1, False),
        (61, 1, True),  # silent for longer than the monitor itself would be
        (10, 9 * 60 - 5, False),
        (10, 9 * 60 + 5, True),  # now and then its host key is looked at all the same
    ],
)
def test_a_fresh_heartbeat_is_trusted_first(
    shared: Service,
    heard: int | None,
    looked: int,
    due: bool,  # noqa: FBT001 - a case's outcome
) -> None:
    """While an agent tells of its server, the monitor looks at it every tenth time only."""
    with shared.parts.database.write() as session:
        session.execute(update(Server).values(status=ServerStatus.PENDING))  # of other tests
    service, made = shared, provided(shared)
    moment = now()
    seen = moment - timedelta(seconds=heard) if heard else None
    service.set(made, agent_last_seen_at=seen, probe_at=moment - timedelta(seconds=looked))
    assert (_due(service) == made) is due


def test_a_missed_probe_counts_for_nothing_while_the_agent_tells(shared: Service) -> None:
    """The agent knows better than a probe that its server lives."""
    service, made = shared, provided(shared)
    monitor = Monitor(service.parts, "tester")
    failure = ocore.Failure(ocore.ErrorCode.CONNECT_TIMEOUT, "Nobody answers.")
    for heard, status in ((10, "active"), (100, "unreachable")):
        service.set(made, agent_last_seen_at=now() - timedelta(seconds=heard), misses=0)
        with service.parts.database.write() as session:
            server = session.exec(select(Server).where(col(Server.id) == made)).one()
            for _ in range(service.settings.monitor_misses):
                monitor._note(server, failure)  # noqa: SLF001 - what a probe's end means
        assert service.get(made)["status"] == status


# --- metrics ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sends a heartbeat as if some time ago."""
    at = now()

    def send(service: Service, token: str, ago: float, **changes: Any) -> None:
        for module in (agents, standing):
            monkeypatch.setattr(module, "now", lambda: at - timedelta(seconds=ago))
        assert beat(service, token, **changes).status_code == 204

    monkeypatch.setattr(telling, "now", lambda: at)
    return send


def metrics(service: Service, server: str, period: str) -> dict[str, Any]:
    """Return a server's metrics."""
    found: dict[str, Any] = service.call("GET", f"/api/servers/{server}/metrics", params={"period": period}).json()
    return found


def test_an_hour_of_heartbeats(shared: Service, tell: Callable[..., None]) -> None:
    """Two a minute for an hour and more are one point a minute, with the averages of its heartbeats."""
    service, made = shared, provided(shared)
    token = token_of(service, made)
    for count in range(130, -1, -1):
        tell(service, token, count * 30, load=float(count % 2), memoryAvailableBytes=(6 - count % 2) * GIB)
    found = metrics(service, made, "1h")
    assert (found["period"], found["seconds"]) == ("1h", 60)
    assert 60 <= len(found["points"]) <= 61
    whole = found["points"][1:-1]
    assert {point["load"] for point in whole} == {0.5}
    assert {point["memoryUsedBytes"] for point in whole} == {5 * GIB // 2}
    assert {(point["memoryTotalBytes"], point["diskTotalBytes"]) for point in whole} == {(8 * GIB, 256 * GIB)}
    assert {point["diskUsedBytes"] for point in whole} == {56 * GIB}
    times = [point["at"] for point in found["points"]]
    assert times == sorted(times)
    assert len(metrics(service, made, "6h")["points"]) < len(times)


PERIODS = {"7d": (7 * 24 * 3600, 1800), "24h": (24 * 3600, 300), "6h": (6 * 3600, 120), "1h": (3600, 60)}


def test_a_period_is_what_it_says(service: Service, made: str, tell: Callable[..., None]) -> None:
    """What is older is not in it; a stretch without heartbeats has no point; there are a few hundred at most."""
    token = token_of(service, made)
    for load, (length, width) in enumerate(PERIODS.values(), start=1):
        tell(service, token, length + 2 * width, load=0.5)
        tell(service, token, length - 2 * width, load=load)
    tell(service, token, 0, load=9)
    for load, (period, (length, width)) in enumerate(PERIODS.items(), start=1):
        found = metrics(service, made, period)
        assert found["seconds"] == width
        # From the oldest that is within the period on: half a load is always just too old for one of them.
        assert found["points"][0]["load"] == load
        assert found["points"][-1]["load"] == 9
        assert length / width + 1 < 400


def test_an_unknown_period_is_refused(shared: Service) -> None:
    """422, as for every field that breaks its rule."""
    answer = shared.call("GET", f"/api/servers/{provided(shared)}/metrics", params={"period": "2h"})
    problem(answer, 422, "invalid")


def test_what_was_told_last(service: Service, made: str) -> None:
    """Before the first heartbeat nothing is known; then it is as it was told, with the share of the capacity in use."""
    path = f"/api/servers/{made}/metrics/latest"
    nothing = service.call("GET", path).json()
    assert nothing.pop("agentStatus") == "installing"
    assert set(nothing.values()) == {None}
    beat(service, token_of(service, made), docker="stopped")
    found = service.call("GET", path).json()
    assert found.keys() == nothing.keys() | {"agentStatus"}
    assert (found["agentStatus"], found["load"], found["docker"]) == ("connected", 0.5, "stopped")
    assert (found["memoryUsedBytes"], found["diskUsedBytes"]) == (2 * GIB, 56 * GIB)
    assert found["capacityInUsePercent"].keys() == {"cpu", "ram", "disk"}
    # The estimate itself is as it was: its shape is agreed.
    assert set(service.get(made)["capacity"]) == {
        "cpuAvailable", "ramAvailableMB", "diskAvailableGB", "maxInstances", "maxConcurrentUsers", "reasoning",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("used", "whole", "available", "share"),
    [(2, 8, 6, 0), (1, 8, 6, 0), (5, 8, 6, 50), (8, 8, 6, 100), (9.5, 8, 6, 125), (1, 8, 0, None)],
)
def test_the_share_in_use_is_of_what_instances_may_have(
    used: float, whole: float, available: float, share: float | None
) -> None:
    """What the system is left does not count as in use; more than all may be."""
    assert telling.share(used, whole, available) == share


def test_old_samples_go(service: Service, made: str, tell: Callable[..., None]) -> None:
    """The sweeper deletes what is older than the setting says, of every server, and nothing else."""
    days = service.settings.metrics_days
    assert days == 7
    for ago in (days * 86400 + 3600, days * 86400 + 60, days * 86400 - 60, 0):
        tell(service, token_of(service, made), ago)
    tidy(service.parts)
    assert samples(service) == 2
