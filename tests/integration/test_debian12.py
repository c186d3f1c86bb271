"""Debian 12: all that needs no newer Docker than its own; Docker's repository is out of the test hosts' reach.

Its Docker is 20.10, which a run refuses (`test_codes.py`). What the roles make of Debian 12 with Docker on it is shown
by hand, with the minimum lowered to that.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ocore
from ocore.steps import VALIDATION
from tests.integration import heartbeats
from tests.integration.support import describe, options, server, statuses
from tests.integration.test_by_hand import Hand
from tests.integration.test_provision import INVENTORY, asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts import Host
    from tests.integration.heartbeats import Heartbeats

pytestmark = pytest.mark.slow

STEPS = ("packages", "swap", "security", "agent")
TOKEN = "made-up-token-of-a-debian-12"
# A Docker as old as this one names itself by a key. The folder is Ansible's, in any mode but ours.
THEIR_OWN = {"/etc/docker", "/etc/docker/key.json", "/root/.ansible", "/root/.ansible/tmp"}
BY_HAND = ("-e", "docker_minimum_version=20")


@pytest.fixture(scope="module")
def host(start: Callable[..., Host]) -> Host:
    """Return a bare Debian 12 host."""
    return start("bookworm")


@pytest.fixture(scope="module")
def before(host: Host) -> set[str]:
    """Return what is on the host before anything was done to it."""
    return set(host.exec(INVENTORY).stdout.splitlines())


@pytest.fixture(scope="module")
def beats() -> Iterator[Heartbeats]:
    """Take what the host's agent tells."""
    with heartbeats.taken() as found:
        yield found


@pytest.fixture(scope="module")
def provision(host: Host, before: set[str], beats: Heartbeats) -> Callable[[], dict[str, str]]:
    """Return a function that runs the steps that need no Docker, and returns how each ended."""
    assert before
    aim = dataclasses.replace(server(host), agent_token=TOKEN)
    wanted = options(swap_mb=64, security=True, agent_url=beats.url, agent_interval=10)

    def run() -> dict[str, str]:
        result = ocore.provision(aim, wanted, steps=STEPS)
        assert result.ok, describe(result)
        return statuses(result)

    return run


@pytest.fixture(scope="module")
def hand(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hand]:
    """Return what a person needs for that host."""
    with tempfile.TemporaryDirectory(prefix="ocore-hand-") as home:
        yield Hand(host, tmp_path_factory.mktemp("hand"), Path(home))


def test_it_can_be_provisioned(host: Host) -> None:
    """Every step of validation succeeds, and the specs are those of a Debian 12."""
    result = ocore.validate(server(host), options())

    assert result.ok, describe(result)
    assert statuses(result) == dict.fromkeys(VALIDATION, "success")
    assert result.specs is not None
    assert result.specs.os_version.split(".")[0] == "12"


def test_the_steps_without_docker_succeed(provision: Callable[[], dict[str, str]], host: Host) -> None:
    """Packages are there, the server is closed, and all of it is verified; a container gets no swap."""
    ended = provision()

    assert {step: ended[step] for step in (*STEPS, "verify")} == {
        **dict.fromkeys((*STEPS, "verify"), "success"),
        "swap": "unchanged",
    }
    assert host.greets()
    assert "policy drop" in host.exec("nft list table inet ocore").stdout
    assert "Status for the jail: sshd" in host.exec("fail2ban-client status sshd").stdout
    assert '"1"' in host.exec("apt-config dump APT::Periodic::Unattended-Upgrade").stdout


def test_its_agent_tells_of_it(beats: Heartbeats) -> None:
    """By the server's own token, through the closed firewall."""
    token, told = beats.next()
    assert token == TOKEN
    assert told["docker"] != "running"
    assert 0 < told["memoryAvailableBytes"] < told["memoryTotalBytes"]


def test_a_second_run_changes_nothing(provision: Callable[[], dict[str, str]]) -> None:
    """All of it is already so."""
    ended = provision()
    assert {ended[step] for step in STEPS} == {"unchanged"}


def test_damage_is_repaired(provision: Callable[[], dict[str, str]], host: Host) -> None:
    """In the kernel's rules, and in what runs."""
    host.exec("nft flush chain inet ocore forward && systemctl stop ocore-agent")
    ended = provision()
    assert {step: ended[step] for step in STEPS} == {
        "packages": "unchanged",
        "swap": "unchanged",
        "security": "success",
        "agent": "success",
    }
    assert "established" in host.exec("nft list chain inet ocore forward").stdout


def test_cleaning_up_leaves_it_as_it_was(host: Host, before: set[str]) -> None:
    """Nothing of these steps stays."""
    cleaned = ocore.cleanup(server(host), options())

    assert cleaned.ok, describe(cleaned)
    after = set(host.exec(INVENTORY).stdout.splitlines())
    assert (sorted(before - after), sorted(after - before)) == ([], [])


@pytest.mark.parametrize(("kind", "says"), [("caddy", "Caddy"), ("nginx", "nginx")])
def test_the_roles_run_with_its_own_docker(host: Host, hand: Hand, kind: str, says: str) -> None:
    """With the minimum lowered by hand: all roles succeed, the proxy answers, and a second time nothing changes."""
    run = [*BY_HAND, "-e", f"proxy_kind={kind}"]
    hand.checkout(*run)
    assert says in (asked(host).getheader("Server") or "")
    assert host.exec("docker version --format '{{.Server.Version}}'").stdout.startswith("20.10.")
    assert "changed=0 " in hand.checkout(*run)


def test_its_docker_is_cleaned_up(host: Host, before: set[str]) -> None:
    """Both proxies were ours, and so was Docker; what it and a person's Ansible have written for themselves stays."""
    cleaned = ocore.cleanup(server(host), options())

    assert cleaned.ok, describe(cleaned)
    after = set(host.exec(INVENTORY).stdout.splitlines())
    assert (before - after, after - before) == (set(), THEIR_OWN)
