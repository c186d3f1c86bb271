"""The main job on a bare Debian 13 host, from the first look to a clean server again."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest

import ocore
from tests.integration.support import NOT_VALIDATION, OPTIONAL, Watch, describe, options, server, statuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host

INVENTORY = (
    "dpkg-query -W -f '${Package} ${Version}\\n' | sort; "
    "find /etc /usr/local /opt /root /home -xdev \\( -type f -o -type d -o -type l \\) | sort; "
    "systemctl list-unit-files --no-legend --no-pager | awk '{print $1}' | sort"
)


def asked(host: Host) -> http.client.HTTPResponse:
    """Return what the host's port 80 answers."""
    connection = http.client.HTTPConnection(host.address, host.http_port, timeout=10)
    connection.request("GET", "/")
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


@pytest.fixture(scope="module")
def bare(start: Callable[..., Host]) -> Host:
    """Return a bare Debian 13 host."""
    return start("root-key")


@pytest.fixture(scope="module")
def before(bare: Host) -> set[str]:
    """Return what is on the host before anything was done to it."""
    return set(bare.exec(INVENTORY).stdout.splitlines())


@pytest.fixture(scope="module")
def first(bare: Host, before: set[str]) -> tuple[ocore.RunResult, Watch]:  # noqa: ARG001 - taken first
    """Return the first run over the bare host, and what was told of it."""
    watch = Watch()
    return ocore.provision(server(bare), options(), recorder=watch), watch


def test_check_mode_changes_nothing(bare: Host, before: set[str]) -> None:
    """In check mode a bare host stays bare, and every step that would run is named."""
    result = ocore.provision(server(bare), options(), check=True)

    assert result.ok, describe(result)
    assert statuses(result)["docker"] == "success"
    assert set(bare.exec(INVENTORY).stdout.splitlines()) == before


def test_a_bare_host_becomes_a_ready_one(first: tuple[ocore.RunResult, Watch], bare: Host) -> None:
    """Every step succeeds, and specs, key and capacity are there."""
    result, watch = first

    assert result.ok, describe(result)
    assert {status for step, status in statuses(result).items() if step not in OPTIONAL} == {"success"}
    assert {statuses(result)[step] for step in OPTIONAL} == {"unchanged"}
    assert result.isolation == "full"
    assert result.host_key is not None
    assert result.host_key.fingerprint == bare.fingerprint()
    assert watch.keys == [result.host_key]
    specs = result.specs
    assert specs is not None
    assert specs.os_name == "Debian GNU/Linux"
    assert specs.os_version.startswith("13")
    assert specs.architecture in {"amd64", "arm64"}
    assert specs.docker_version is not None
    assert int(specs.docker_version.split(".")[0]) >= 24
    assert ocore.estimate(specs).terms is not None


def test_progress_is_told_in_order(first: tuple[ocore.RunResult, Watch]) -> None:
    """Each step is told once, begun before it ended unless nobody asked for it, and tasks belong to steps."""
    result, watch = first
    names = [step.step for step in result.steps]

    assert watch.started == [name for name in names if name not in OPTIONAL]
    assert [step.step for step in watch.finished] == names
    assert {event.step for event in watch.events} <= set(names)
    assert any(event.kind == "changed" and event.step == "docker" for event in watch.events)


def test_the_real_proxy_answers(first: tuple[ocore.RunResult, Watch], bare: Host) -> None:
    """Port 80 is answered by Caddy itself."""
    assert first[0].ok
    assert "Caddy" in (asked(bare).getheader("Server") or "")


@pytest.mark.usefixtures("first")
def test_the_second_run_does_nothing(bare: Host) -> None:
    """Validation succeeds, every other step is unchanged, and no task of its role ran."""
    watch = Watch()
    result = ocore.provision(server(bare), options(), recorder=watch)

    assert result.ok, describe(result)
    assert {statuses(result)[step] for step in NOT_VALIDATION} == {"unchanged"}
    assert [event for event in watch.events if event.step in NOT_VALIDATION] == []


@pytest.mark.usefixtures("first")
def test_force_runs_everything_and_changes_nothing(bare: Host) -> None:
    """Every role is idempotent: a forced run over a ready host changes nothing."""
    result = ocore.provision(server(bare), options(), force=True)

    assert result.ok, describe(result)
    assert set(statuses(result).values()) == {"success"}
    assert {step.step: step.changed for step in result.steps if step.changed} == {}


@pytest.mark.usefixtures("first")
def test_a_plan_is_the_same_twice(bare: Host) -> None:
    """Two plans of one host in one state are the same bytes, and say that nothing will run."""
    one, two = (ocore.plan(server(bare), options()) for _ in range(2))

    assert one.to_json() == two.to_json()
    assert [step.step for step in one.steps if step.run] == ["connect", "privileges", "detect", "preflight"]


@pytest.mark.usefixtures("first")
def test_the_proxy_can_be_changed(bare: Host) -> None:
    """From Caddy to nginx to none: the old one goes, the new one answers."""
    result = ocore.provision(server(bare), options(proxy="nginx"))
    assert result.ok, describe(result)
    assert statuses(result)["docker"] == "unchanged"
    assert "nginx" in (asked(bare).getheader("Server") or "")

    result = ocore.provision(server(bare), options(proxy="none"))
    assert result.ok, describe(result)
    assert bare.exec("docker ps -aq --filter name=ocore-proxy").stdout.strip() == ""


@pytest.mark.usefixtures("first")
def test_cleanup_leaves_the_host_as_it_was(bare: Host, before: set[str]) -> None:
    """What provisioning put there is gone, but for what the notes name; a second cleanup is fine, too."""
    result = ocore.cleanup(server(bare), options())
    assert result.ok, describe(result)

    after = set(bare.exec(INVENTORY).stdout.splitlines())
    assert before - after == set()
    assert sorted(after - before) == []
    assert ocore.cleanup(server(bare), options()).ok
