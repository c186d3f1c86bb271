"""An arm64 host, by emulation: what a run finds out about it, what Docker it would be given, and that the agent runs.

The emulator is no whole kernel: in this host systemd answers and starts no service, so no Docker runs there. The step
that installs it is gone through in check mode.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING
from unittest import mock

import pytest

import ocore
from ocore import content
from ocore.steps import BY_NAME, VALIDATION
from tests.hosts import emulation
from tests.integration import heartbeats
from tests.integration.apart import seconds_until
from tests.integration.support import Watch, describe, options, server, statuses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts import Host

# Each module that Ansible runs takes seconds here, apt minutes, the image of the first host longer; all of it grows
# with what else the machine does.
pytestmark = [pytest.mark.slow, pytest.mark.arm64, pytest.mark.timeout(7200)]

TOKEN = "made-up-token-of-an-arm64-host"


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """Give each step ten times its time: the limits are for hosts that have a processor."""
    slow = {name: dataclasses.replace(step, timeout=10 * step.timeout) for name, step in BY_NAME.items()}
    with mock.patch.dict(BY_NAME, slow):
        yield


@pytest.fixture(scope="module")
def host(start: Callable[..., Host], arm64: None) -> Host:  # noqa: ARG001 - asks for what runs it
    """Return the host."""
    return start("arm64")


@pytest.fixture(scope="module")
def validated(host: Host) -> ocore.RunResult:
    """Return what validation found out."""
    return ocore.validate(server(host), options())


@pytest.fixture(scope="module")
def specs(validated: ocore.RunResult) -> ocore.HardwareSpecs:
    """Return the host's specs."""
    assert validated.specs is not None, describe(validated)
    return validated.specs


@pytest.fixture(scope="module")
def packaged(host: Host) -> ocore.RunResult:
    """Return how it ended to install the base packages, for real."""
    return ocore.provision(server(host), options(), steps=("packages",))


@pytest.fixture(scope="module")
def checked(host: Host, packaged: ocore.RunResult) -> Watch:
    """Return what the Docker step told in check mode; the package lists are there from the step before."""
    assert packaged.ok, describe(packaged)
    watch = Watch()
    result = ocore.provision(server(host), options(), steps=("docker",), check=True, recorder=watch)
    assert result.ok, describe(result)
    return watch


def told(watch: Watch, task: str) -> ocore.TaskEvent:
    """Return how one of the step's tasks ended."""
    [found] = [one for one in watch.events if (one.step, one.task) == ("docker", task) and one.kind != "started"]
    return found


def test_the_host_is_one_of_arm64(host: Host) -> None:
    """Without this the tests would say nothing: its kernel and its packages are of that processor."""
    assert host.exec("uname -m").stdout.strip() == emulation.MACHINES["arm64"]
    assert host.exec("dpkg --print-architecture").stdout.strip() == "arm64"


def test_it_can_be_provisioned(validated: ocore.RunResult, host: Host) -> None:
    """Login, root, facts and preflight: every step of validation succeeds, over the key that the host has."""
    assert validated.ok, describe(validated)
    assert statuses(validated) == dict.fromkeys(VALIDATION, "success")
    assert validated.host_key is not None
    assert validated.host_key.fingerprint == host.fingerprint()


def test_its_specs_are_told(specs: ocore.HardwareSpecs) -> None:
    """Processor, system and sizes; Docker is not there."""
    assert specs.architecture == "arm64"
    assert (specs.os_name, specs.os_version.split(".")[0]) == ("Debian GNU/Linux", "13")
    assert specs.docker_version is None
    assert min(specs.cpu_cores, specs.ram_total_bytes, specs.disk_total_bytes) > 0


def test_its_capacity_is_told(specs: ocore.HardwareSpecs) -> None:
    """From its own sizes."""
    capacity = ocore.estimate(specs)
    assert capacity.terms is not None
    assert capacity.terms.cores == specs.cpu_cores
    assert capacity.reasoning


def test_a_plan_is_made(host: Host) -> None:
    """Every step that is on by default is due."""
    plan = ocore.plan(server(host), options())
    due = {one.step for one in plan.steps if one.run}
    assert due == {*VALIDATION, "packages", "docker", "runtime", "proxy", "verify"}


def test_the_agents_program_runs(host: Host) -> None:
    """Started as its unit starts it, it tells of the host; no service is needed for that."""
    host.copy_in(content.root() / "roles" / "agent" / "files" / "ocore_agent.py", "/root/ocore_agent.py")
    host.write("/root/token", TOKEN, mode="0600")
    with heartbeats.taken() as beats:
        host.write("/root/agent.json", json.dumps({"url": f"{beats.url}/api/agent/heartbeat", "interval": 10}))
        run = "python3 -I /root/ocore_agent.py /root/agent.json < /root/token > /root/agent.log 2>&1 & echo $!"
        number = host.exec(run).stdout
        token, reading = beats.next(300)
        seconds_until(
            lambda: host.read("/root/agent.log") == "heartbeat: HTTP 204\n", 60, "it says that this was taken"
        )
    host.exec(f"kill {number}")

    assert token == TOKEN
    assert reading["docker"] != "running"
    assert 0 < reading["memoryAvailableBytes"] < reading["memoryTotalBytes"]
    assert 0 < reading["diskFreeBytes"] < reading["diskTotalBytes"]


def test_its_base_packages_are_installed(packaged: ocore.RunResult, host: Host) -> None:
    """For real, and of its architecture; verify finds them by its own means, and a second run has nothing to do."""
    assert packaged.ok, describe(packaged)
    assert [statuses(packaged)[step] for step in ("packages", "verify")] == ["success", "success"]
    assert host.exec("dpkg-query -W -f '${Architecture} ${db:Status-Status}' curl").stdout == "arm64 installed"
    again = ocore.provision(server(host), options(), steps=("packages",))
    assert statuses(again)["packages"] == "unchanged", describe(again)


def test_docker_would_come_from_the_distribution(checked: Watch, host: Host) -> None:
    """Docker's own repository is asked and does not answer, so it is Debian's: new enough, and built for arm64.

    The step has found that in check mode, which has changed nothing.
    """
    assert "Status code was" in told(checked, "Ask Docker's own repository for this system").message
    assert told(checked, "Have Docker's own repository").kind == "skipped"
    assert told(checked, "Install Docker's packages").kind == "changed"
    simulated = host.exec("apt-get --simulate --no-install-recommends install docker.io docker-cli", seconds=600).stdout
    found = dict(re.findall(r"^Inst (\S+) \((\S+) .*\[arm64\]\)", simulated, re.MULTILINE))
    assert {"docker.io", "docker-cli"} <= set(found)
    assert int(found["docker.io"].split(".")[0]) >= 24
    assert host.exec("ls -d /etc/docker /usr/sbin/dockerd 2>/dev/null", check=False).stdout == ""
