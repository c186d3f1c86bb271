"""A real server's whole life through the API, on both storages: made, watched, damaged, repaired and removed."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest

import ocore

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.e2e.served import Client, Said, Served
    from tests.hosts import Host

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)
STEPS = [step.name for step in ocore.STEPS]
# A program that was stopped, and a file of ours that somebody edited; each with the steps that are no longer so. What
# there is to damage is the matter of tests/integration: one for each storage is enough here.
DAMAGES = {
    "sqlite": ("docker rm -f ocore-proxy; systemctl stop ocore-proxy", ["proxy", "verify"]),
    "postgres": ("echo '{}' > /etc/ocore/server.json", ["runtime", "proxy", "verify"]),
}
OURS = (
    "find /etc/ocore /etc/systemd/system/ocore* -maxdepth 0 2>/dev/null; docker ps --all --format '{{.Names}}' | "
    "grep ocore; docker network ls --format '{{.Name}}' | grep ocore; true"
)


@pytest.fixture(scope="module")
def host(start: Callable[..., Host]) -> Host:
    """Return a host that nothing was done to; each test leaves it as it was."""
    return start("root-key")


@pytest.mark.parametrize("storage", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def test_a_servers_life(storage: str, serve: Callable[..., AbstractContextManager[Served]], host: Host) -> None:
    """It becomes active by itself and shows it live; damage is named and repaired; removed, it leaves nothing."""
    with serve(storage) as served:
        served.start("all")
        client = served.client()
        server = _made(client, host)
        assert _drift(client, server) == []
        _repaired(client, host, server, *DAMAGES[storage])
        assert client.get(server)["status"] == "active"
        _removed(client, host, server)


def _made(client: Client, host: Host) -> str:
    """Create a server and follow its first run to the end; return its id."""
    began = time.monotonic()
    made = client.create(host)
    assert made["status"] == "pending"
    [run] = client.runs(made["id"])
    events = list(client.follow(run["id"]))
    log.info("active %.1f s after POST, %d events", time.monotonic() - began, len(events))
    _assert_told(events)
    found = client.until(made["id"], "active", 5)

    assert (found["osName"], found["architecture"]) == ("Debian GNU/Linux", "amd64")
    assert found["hostKeyFingerprint"] == host.fingerprint()
    assert found["dockerVersion"]
    assert found["capacity"]["maxInstances"] >= 0
    assert found["capacity"] == client.call("GET", f"/servers/{made['id']}/capacity")
    logs = client.logs(made["id"])
    assert [one["step"] for one in logs] == STEPS
    assert {one["status"] for one in logs} <= {"success", "unchanged"}
    assert all(one["completedAt"] >= one["startedAt"] for one in logs)
    return str(made["id"])


def _assert_told(events: list[Said]) -> None:
    """Check that a run's events are whole: each number once, each step's begin if it ran, its end, and the run's."""
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert (events[-1].type, events[-1].data["state"]) == ("run", "succeeded")
    steps = [event.data for event in events if event.type == "step"]
    ended = {step["step"]: step["status"] for step in steps if step["status"] != "running"}
    assert list(ended) == STEPS
    assert [step["step"] for step in steps if step["status"] == "running"] == [
        step for step in STEPS if ended[step] != "unchanged"
    ]


def _drift(client: Client, server: str) -> list[str]:
    """Look for drift, and return the steps that are no longer so."""
    run = client.ask(server, "drift")
    ended = client.ended(run["id"])
    assert ended["state"] == "succeeded", ended
    found = client.call("GET", f"/servers/{server}/drift")
    assert found["runId"] == run["id"]
    steps = [step["step"] for step in found["steps"]]
    assert found["drifted"] is bool(steps)
    return steps


def _repaired(client: Client, host: Host, server: str, command: str, steps: list[str]) -> None:
    """Damage the host: a look names the steps, leaves the server as it is, and a run repairs just these."""
    host.exec(command)
    assert _drift(client, server) == steps
    assert client.get(server)["status"] == "active"
    run = client.ask(server)
    events = list(client.follow(run["id"]))
    assert events[-1].data["state"] == "succeeded", events[-1]
    done = [event.data["step"] for event in events if event.type == "step" and event.data["status"] == "success"]
    assert [step for step in done if step in STEPS[4:]] == steps
    client.until(server, "active", 5)
    assert _drift(client, server) == []


def _removed(client: Client, host: Host, server: str) -> None:
    """Remove the server: it is not found any more, nor is anything of ours on the host."""
    assert host.exec(OURS).stdout.strip()
    client.delete(server)
    assert client.call("GET", "/servers")["servers"] == []
    assert host.exec(OURS).stdout.split() == []
