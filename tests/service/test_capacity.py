"""Capacity through the API: other profiles, more hardware in thought, and the machine that would be enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.service.support import recording

if TYPE_CHECKING:
    from tests.service.support import Service

FIELDS = {"cpuAvailable", "ramAvailableMB", "diskAvailableGB", "maxInstances", "maxConcurrentUsers", "reasoning"}


@pytest.fixture
def server(service: Service) -> str:
    """Return a server whose hardware is known."""
    made = service.create()["id"]
    with service.worker(recording("bare")):
        service.until(made, "active")
    return str(made)


def ask(service: Service, server: str, **query: Any) -> dict[str, Any]:
    """Return an estimate."""
    found: dict[str, Any] = service.call("GET", f"/api/servers/{server}/capacity", params=query).json()
    return found


def test_more_hardware_in_thought(service: Service, server: str) -> None:
    """The shape stays the seed's; more of everything carries more, and nothing is stored."""
    now, more = ask(service, server), ask(service, server, addCores=64, addRamMB=2**19, addDiskGB=4096)
    assert now.keys() == more.keys() == FIELDS
    assert more["maxInstances"] > now["maxInstances"]
    assert ask(service, server) == now == service.get(server)["capacity"]
    assert ask(service, server, profile="small")["maxInstances"] >= now["maxInstances"]


def test_hardware_that_is_not_known_is_not_made_up(service: Service) -> None:
    """To nothing known nothing is added."""
    made = service.create()["id"]
    assert ask(service, made, addCores=8, addRamMB=8192, addDiskGB=100)["maxInstances"] == 0


@pytest.mark.parametrize("query", [{"profile": "huge"}, {"addCores": -1}, {"addRamMB": "x"}])
def test_absurd_questions_are_refused(service: Service, server: str, query: dict[str, Any]) -> None:
    """422, as for every field that breaks its rule."""
    assert service.call("GET", f"/api/servers/{server}/capacity", params=query).status_code == 422


def test_the_smallest_machine(service: Service) -> None:
    """It carries what was asked for."""
    found = service.call("GET", "/api/capacity/size", params={"users": 48, "instances": 4}).json()
    assert found["capacity"]["maxConcurrentUsers"] >= 48
    assert found["capacity"]["maxInstances"] >= 4
    assert [gain["of"] for gain in found["gains"]] == ["cores", "ramGB", "diskGB"]
    assert service.call("GET", "/api/capacity/size", params={"users": 10_000}).status_code in {200, 422}
    assert service.call("GET", "/api/capacity/size").status_code == 422
