"""How much may be asked: rate limits with their headers, whose address counts, and quotas."""

from __future__ import annotations

import re
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api.data.tables import RunState, ServerStatus, now
from api.main import create_app
from api.service import agents
from api.web import limits
from ocore.cli import main
from tests.service.problems import problem
from tests.service.storages import free_port
from tests.service.support import Service, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from api.settings import Settings

_ITEM = re.compile(r'"([a-z]+)";([a-z])=(\d+);([a-z])=(\d+)')


def _told(answer: httpx2.Response, header: str) -> dict[str, dict[str, int]]:
    """Return a header of the draft: for each limit its parameters."""
    found = {}
    for item in answer.headers[header].split(", "):
        name, *pairs = _ITEM.fullmatch(item).groups()  # type: ignore[union-attr]
        found[name] = {pairs[0]: int(pairs[1]), pairs[2]: int(pairs[3])}
    return found


@pytest.fixture
def limited(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Service]:
    """Return a service with the limits that a test names."""
    with opened(settings.model_copy(update=request.param)) as service:
        yield service


def with_limits(**given: Any) -> pytest.MarkDecorator:
    """Have the test's service with these limits."""
    return pytest.mark.parametrize("limited", [given], indirect=True, ids=["limited"])


@pytest.mark.promise("A12")
@with_limits(rate_organization=5, rate_address=0)
def test_an_organization_is_limited_and_told(limited: Service) -> None:
    """What is left goes down to nothing; then 429 says when to come back. Another organization is not concerned."""
    for left in (4, 3, 2, 1, 0):
        answer = limited.call("GET", "/api/servers")
        assert answer.status_code == 200
        assert _told(answer, "RateLimit-Policy") == {"organization": {"q": 5, "w": 60}}
        standing = _told(answer, "RateLimit")["organization"]
        assert standing["r"] == left
        assert 0 < standing["t"] <= 60
    answer = limited.call("POST", "/api/servers", json=limited.body())
    problem(answer, 429, "rate_limited")
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert _told(answer, "RateLimit")["organization"]["r"] == 0
    assert limited.call("GET", "/api/servers", token=limited.token(organization="two")).json() == {"servers": []}


@with_limits(rate_organization=0, rate_address=5, rate_failures=0)
def test_an_address_is_limited_whoever_asks(limited: Service) -> None:
    """Organizations share it, and so do those without a token; health and metrics are never counted."""
    tokens = [limited.token(), limited.token(organization="two"), "", "x.y.z", limited.token()]
    codes = [limited.call("GET", "/api/servers", token=token).status_code for token in tokens]
    assert codes == [200, 200, 401, 401, 200]
    problem(limited.call("GET", "/api/servers"), 429, "rate_limited")
    assert limited.client.get("/openapi.json").status_code == 429
    for path in ("/health/live", "/health/ready", "/metrics"):
        answer = limited.client.get(path)
        assert answer.status_code == 200
        assert "RateLimit" not in answer.headers


@with_limits(rate_failures=3)
def test_failures_are_limited_and_lock_nobody_out(limited: Service) -> None:
    """Tries without a valid token are refused before long; a valid token is taken from the same address."""
    for _ in range(3):
        problem(limited.call("GET", "/api/servers", token="x.y.z"), 401)
    answer = limited.call("GET", "/api/servers", token="x.y.z")
    problem(answer, 429, "rate_limited")
    assert "Retry-After" in answer.headers
    problem(limited.call("GET", "/api/servers", token=""), 429)
    assert limited.call("GET", "/api/servers").status_code == 200


def _statements(service: Service) -> list[str]:
    """Return what the database is asked from now on."""
    asked: list[str] = []
    event.listen(service.parts.database.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    return asked


@with_limits(rate_organization=0, rate_address=0, rate_failures=5)
def test_who_tries_agents_tokens_does_not_reach_the_database(limited: Service) -> None:
    """Not at all with what is none; of a form that could be one, as often as may be tried."""
    asked = _statements(limited)
    beat = {"headers": {"Authorization": "Bearer junk"}, "json": {}}
    codes = [limited.client.post("/api/agent/heartbeat", **beat).status_code for _ in range(20)]  # type: ignore[arg-type]
    assert codes == [401] * 5 + [429] * 15
    assert asked == []


@with_limits(rate_organization=0, rate_address=0, rate_failures=5)
def test_an_agent_is_heard_from_where_others_try_tokens(limited: Service) -> None:
    """One that was heard before; of the others the database is asked no more than may be tried."""
    token = "oca_" + "a" * 43
    made = limited.create()["id"]
    limited.set(made, agent_token_hash=agents.digest(token))
    told = {"version": "1.0.0", "load": 0.1, "memoryTotalBytes": 2**30, "memoryAvailableBytes": 2**29}
    told |= {"diskTotalBytes": 2**30, "diskFreeBytes": 2**29, "docker": "running", "uptimeSeconds": 9}

    def beat(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return limited.client.post("/api/agent/heartbeat", headers=headers, json=told).status_code

    assert beat(token) == 204
    asked = _statements(limited)
    assert [beat("oca_" + "b" * 42 + str(number % 10)) for number in range(20)] == [401] * 5 + [429] * 15
    assert len([one for one in asked if "agent_token_hash" in one]) <= 5
    limited.set(made, agent_last_seen_at=now() - timedelta(minutes=1))
    assert beat(token) == 204


@with_limits(rate_organization=0, rate_address=3, rate_failures=0)
def test_only_the_heartbeat_itself_is_not_counted(limited: Service) -> None:
    """What only begins like it is counted for the address like everything else."""
    codes = [limited.client.post("/api/agent/heartbeatX", json={}).status_code for _ in range(5)]
    assert codes == [401] * 3 + [429] * 2


def test_metrics_are_counted_once_a_second(service: Service) -> None:
    """Anybody may ask for them, and counting looks at whole tables."""
    asked = _statements(service)
    for _ in range(30):
        assert "ocore_servers" in service.client.get("/metrics").text
    assert len([one for one in asked if one.startswith("SELECT")]) <= 12


def test_without_limits_nothing_is_said(service: Service) -> None:
    """0 takes a limit away, with its headers."""
    for _ in range(50):
        answer = service.call("GET", "/api/servers", token="")
        assert answer.status_code == 401
        assert "RateLimit" not in answer.headers


def test_processes_count_together_where_there_is_redis(settings: Settings, storage: str) -> None:
    """Two services on one storage: with Redis they share a limit; without it each has its own."""
    few = settings.model_copy(update={"rate_organization": 4})
    with opened(few) as one, TestClient(create_app(parts=one.parts), base_url="http://localhost") as other:
        two = Service(few, one.parts, other, one.organizations)
        codes = [service.call("GET", "/api/servers").status_code for service in (one, two) * 3]
    assert codes == ([200] * 6 if storage == "sqlite" else [200] * 4 + [429] * 2)


def test_a_redis_that_is_away_ends_nothing(settings: Settings) -> None:
    """Each process counts alone then, and no request waits for long."""
    away = {"rate_organization": 3, "rate_url": f"redis://127.0.0.1:{free_port()}/0"}
    with opened(settings.model_copy(update=away)) as service:
        began = time.monotonic()
        assert [service.call("GET", "/api/servers").status_code for _ in range(4)] == [200, 200, 200, 429]
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("a.socket", "a.socket"),
    ],
)
def test_which_address_counts(given: str, counted: str) -> None:
    """A network of IPv6 is one client; an address of IPv4 is the same in both spellings."""
    assert limits.address({"client": (given, 1)}) == counted
    assert limits.address({"client": None}) == ""


@with_limits(rate_address=1)
def test_only_a_trusted_proxy_says_whose_request_it_is(limited: Service) -> None:
    """By the part of uvicorn that `ocore serve` uses: from elsewhere the header is not believed, and buys nothing."""
    app: Any = limited.client.app
    for trusted, expected in (("testclient", [200, 200]), ("192.0.2.1", [200, 429]), ("none", [429, 429])):
        with TestClient(ProxyHeadersMiddleware(app, trusted), base_url="http://localhost") as client:  # type: ignore[arg-type]
            headers = {"Authorization": f"Bearer {limited.token()}"}
            codes = [
                client.get("/api/servers", headers=headers | {"X-Forwarded-For": f"198.51.100.{number}"}).status_code
                for number in (1, 2)
            ]
        assert codes == expected, trusted


@with_limits(quota_servers=3)
def test_an_organization_has_no_more_servers_than_its_quota(limited: Service) -> None:
    """The next one is refused with 403, also of many at once; another organization has its own."""
    made: list[int] = []
    token, start = limited.token(), threading.Barrier(8)

    def create(body: dict[str, Any]) -> None:
        start.wait()
        made.append(limited.call("POST", "/api/servers", json=body, token=token).status_code)

    threads = [threading.Thread(target=create, args=[limited.body()]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [201] * 3 + [403] * 5
    told = problem(limited.call("POST", "/api/servers", json=limited.body()), 403, "quota_exceeded")
    assert "3 servers" in told["detail"]
    assert limited.create(organization="two")


@pytest.mark.promise("A12")
@with_limits(quota_runs=2)
def test_an_organization_has_no_more_waiting_runs_than_its_quota(limited: Service) -> None:
    """New servers, runs and retries are refused; a changed connection and a removal are not."""
    one, two = limited.create()["id"], limited.create()["id"]
    problem(limited.call("POST", "/api/servers", json=limited.body()), 403, "quota_exceeded")
    limited.set_runs(one, state=RunState.FAILED)
    limited.set(one, status=ServerStatus.ERROR)
    three = limited.create()["id"]
    problem(limited.call("POST", f"/api/servers/{one}/retry"), 403, "quota_exceeded")
    problem(limited.call("POST", f"/api/servers/{one}/runs", json={"kind": "drift"}), 403, "quota_exceeded")
    assert limited.call("PUT", f"/api/servers/{one}", json={"port": 2222}).status_code == 200
    for server in (one, two, three):
        assert limited.call("DELETE", f"/api/servers/{server}").status_code == 202


@with_limits(quota_servers=1)
def test_an_organization_can_have_a_quota_of_its_own(
    limited: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ocore org quota` sets it, shows it and takes it away; 0 is no limit."""
    for name in ("home", "database_url", "queue_url", "quota_servers"):
        monkeypatch.setenv(f"OCORE_{name.upper()}", str(getattr(limited.settings, name)))
    limited.create()
    problem(limited.call("POST", "/api/servers", json=limited.body()), 403)
    capsys.readouterr()
    assert main(["org", "quota", "one", "--servers", "2"]) == 0
    assert capsys.readouterr().out == "servers: 2 (its own)\nruns: 500 (the setting's)\n"
    limited.create()
    problem(limited.call("POST", "/api/servers", json=limited.body()), 403)
    assert main(["org", "quota", "one", "--servers", "0"]) == 0
    assert "servers: any number (its own)" in capsys.readouterr().out
    limited.create()
    assert main(["org", "quota", "one", "--servers", "default", "--json"]) == 0
    assert '"own": {"servers": null, "runs": null}' in capsys.readouterr().out
    problem(limited.call("POST", "/api/servers", json=limited.body()), 403)
    for wrong in (["one", "--servers", "-1"], ["one", "--runs", "many"], ["nobody"]):
        assert main(["org", "quota", *wrong]) != 0
