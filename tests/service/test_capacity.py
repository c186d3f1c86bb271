"""Capacity through the API: other profiles, more hardware in thought, and the machine that would be enough."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from api.settings import Settings
from ocore.cli import main
from tests.service.support import opened, recording
from tests.unit.cli.test_cli_output import OWN

if TYPE_CHECKING:
    from pathlib import Path

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


def test_a_site_s_own_profiles_come_from_the_settings_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The service and the command line read the same file, and come to the same figures."""
    (tmp_path / "ocore.toml").write_text(OWN.replace("port = 8443", "monitor = false"))
    with opened(Settings(home=tmp_path)) as service:
        query = {"users": 6, "instances": 10}
        found = service.call("GET", "/api/capacity/size", params=query).json()
        assert service.call("GET", "/api/capacity/size", params=query | {"profile": "small"}).status_code == 422
    words = ["--users", "6", "--instances", "10", "--settings", str(tmp_path / "ocore.toml"), "--json"]
    capsys.readouterr()
    assert main(["size", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["profile"] == "tiny"
    assert told["machine"] == {name: found[name] for name in ("cores", "ramMB", "diskGB")}
    assert told["capacity"] == found["capacity"]


def test_constants_that_break_their_rule_are_told_at_start(tmp_path: Path) -> None:
    """And not when somebody asks for an estimate."""
    (tmp_path / "ocore.toml").write_text("[capacity.profiles.standard]\ncores = 0\nram_mb = 1\ndisk_gb = 1\n")
    with pytest.raises(ValidationError, match="cores: must be a number above 0"):
        Settings(home=tmp_path)
