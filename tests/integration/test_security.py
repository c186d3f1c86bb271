"""A closed server, for real: what still comes in, what does not, what is repaired, and that nobody is locked out."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ocore
from ocore import content
from tests.hosts import engine
from tests.integration.support import describe, options, server, statuses
from tests.integration.test_by_hand import Hand
from tests.integration.test_provision import asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts import Host

pytestmark = pytest.mark.slow

OPEN, CLOSED = options(), options(security=True)
# One port of the host's own, and one that a container publishes.
OWN, PUBLISHED = 9000, 8080
FILES = "/etc/ocore/firewall.nft", "/etc/systemd/system/ocore-firewall.service", "/etc/fail2ban/jail.d/ocore.local"
PLAY = ("ansible-playbook", "playbooks/provision.yml", "--tags", "security", "-e", "security_enabled=true")


@pytest.fixture(scope="module")
def host(start: Callable[..., Host]) -> Host:
    """Return a provisioned host on which something listens at one port, and a container publishes another."""
    host = start("root-key", docker=True)
    result = ocore.provision(server(host), OPEN)
    assert result.ok, describe(result)
    listen(host)
    return host


def listen(host: Host) -> None:
    """Start what listens."""
    host.exec(f"systemd-run --quiet --collect python3 -m http.server {OWN}")
    image = "docker.io/library/caddy:2.10.2"
    command = f"caddy respond --listen :{PUBLISHED} hello"
    host.exec(f"docker run --detach --rm --name shop --publish {PUBLISHED}:{PUBLISHED} {image} {command}")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Return a person's home."""
    with tempfile.TemporaryDirectory(prefix="ocore-hand-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def hand(host: Host, tmp_path_factory: pytest.TempPathFactory, home: Path) -> Hand:
    """Return what a person needs for that host."""
    return Hand(host, tmp_path_factory.mktemp("hand"), home)


def answers(host: Host, port: int, seconds: float = 10) -> bool:
    """Tell whether a port answers from outside, at the host's own address."""
    address = engine.run("inspect", "--format", "{{.NetworkSettings.IPAddress}}", host.container).stdout.strip()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=2):
            return True
        time.sleep(0.2)
    return False


def closed(host: Host, *ports: int) -> bool:
    """Tell whether no port answers."""
    return not any(answers(host, port, seconds=3) for port in ports)


def table(host: Host) -> str:
    """Return the firewall's table; nothing where there is none."""
    return host.exec("nft list table inet ocore 2>/dev/null", check=False).stdout


def test_before_everything_answers(host: Host) -> None:
    """Without this the tests of what is closed would prove nothing."""
    assert answers(host, OWN)
    assert answers(host, PUBLISHED)


def test_rules_that_would_lock_out_are_taken_back(host: Host, hand: Hand) -> None:
    """Where the new connection is not greeted by SSH, the step fails, and everything is as before."""
    with pytest.raises(AssertionError, match="so they were taken back"):
        hand.checkout(*PLAY[2:], "-e", "security_try_port=1", "-e", "security_guard_seconds=10")
    assert table(host) == ""
    assert answers(host, OWN)
    assert host.exec(f"ls {FILES[0]} {FILES[1]}", check=False).stdout == ""


def test_a_run_that_dies_leaves_the_server_open(host: Host, hand: Hand) -> None:
    """Killed while it tries the new rules, it cannot take them back: the server does it."""
    elsewhere = ["-e", "security_try_host=192.0.2.1", "-e", "security_guard_seconds=20"]
    command = [PLAY[0], "-i", str(hand.folder / "inventory.yml"), *PLAY[1:], *elsewhere]
    environment = os.environ | {"HOME": str(hand._home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # noqa: SLF001
    run = subprocess.Popen(
        command, cwd=content.root(), env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until = time.monotonic() + 120
        while not table(host) and time.monotonic() < until:
            time.sleep(0.3)
        assert "policy drop" in table(host)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    until = time.monotonic() + 60
    while table(host).count("chain") and time.monotonic() < until:
        time.sleep(1)
    assert "chain" not in table(host)
    assert answers(host, OWN)


def test_the_rules_of_a_run_that_died_are_taken_back_first(host: Host, hand: Hand) -> None:
    """Its timer still waits when the next run begins: what is kept then are the rules before both."""
    host.exec(
        "printf 'add table inet ocore\ndelete table inet ocore\n' > /run/ocore-firewall-before.nft && "
        "nft add table inet ocore && nft 'add chain inet ocore untried' && "
        "systemd-run --quiet --collect --unit=ocore-firewall-guard --on-active=300 "
        "/usr/sbin/nft --file /run/ocore-firewall-before.nft"
    )
    with pytest.raises(AssertionError, match="so they were taken back"):
        hand.checkout(*PLAY[2:], "-e", "security_try_port=1", "-e", "security_guard_seconds=10")
    assert table(host) == ""
    assert "ocore-firewall-guard" not in host.exec("systemctl list-timers --all").stdout


def test_a_closed_server_lets_in_ssh_and_the_proxy_only(host: Host) -> None:
    """Neither a port of its own answers nor one that Docker has opened; SSH and port 80 do."""
    result = ocore.provision(server(host), CLOSED)

    assert result.ok, describe(result)
    assert (statuses(result)["security"], statuses(result)["verify"]) == ("success", "success")
    assert host.greets()
    assert asked(host).status == 200
    assert closed(host, OWN, PUBLISHED)
    assert "Status for the jail: sshd" in host.exec("fail2ban-client status sshd").stdout
    assert '"1"' in host.exec("apt-config dump APT::Periodic::Unattended-Upgrade").stdout
    assert "ocore-firewall-guard" not in host.exec("systemctl list-timers --all").stdout


def test_containers_reach_the_outside(host: Host) -> None:
    """What they ask for is answered."""
    gateway = engine.run("inspect", "--format", "{{.NetworkSettings.Gateway}}", host.container).stdout.strip()
    with http.server.ThreadingHTTPServer((gateway, 0), http.server.SimpleHTTPRequestHandler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        said = host.exec(f"docker exec shop busybox wget -qO- http://{gateway}:{served.server_port}/LICENSE").stdout
        served.shutdown()
    assert "Apache License" in said


def test_a_second_run_changes_nothing(host: Host) -> None:
    """All of it is already so."""
    assert not ocore.drift(server(host), CLOSED)
    result = ocore.provision(server(host), CLOSED)
    assert statuses(result)["security"] == "unchanged", describe(result)


@pytest.mark.parametrize(
    "damage",
    [
        "nft flush chain inet ocore forward",
        f"nft insert rule inet ocore input tcp dport {OWN} accept",
        "nft delete table inet ocore",
        f"sed -i 's/tcp dport {{/tcp dport {{ {OWN},/' {FILES[0]}",
        "systemctl disable --now fail2ban",
    ],
)
def test_damage_is_found_and_repaired(host: Host, damage: str) -> None:
    """Whether in the kernel, in a file or in what runs."""
    host.exec(damage)
    assert [one.step for one in ocore.drift(server(host), CLOSED).steps] == ["security", "verify"]

    result = ocore.provision(server(host), CLOSED)
    assert result.ok, describe(result)
    assert not ocore.drift(server(host), CLOSED)
    assert closed(host, OWN)


def test_a_port_can_be_left_open(host: Host) -> None:
    """For the server and for its containers."""
    result = ocore.provision(server(host), options(security=True, security_ports=f"{PUBLISHED}"))
    assert result.ok, describe(result)
    assert answers(host, PUBLISHED)
    assert closed(host, OWN)


def test_it_is_closed_after_a_start(host: Host) -> None:
    """The rules are loaded before the network is there."""
    host.kill()
    host.start()
    listen(host)
    assert "policy drop" in table(host)
    assert closed(host, OWN)


def orphan(host: Host) -> None:
    """Leave the rules in the kernel as a run does that dies before the unit is there."""
    host.exec(
        "nft list table inet ocore > /run/kept.nft && systemctl disable --now ocore-firewall && "
        f"rm {FILES[0]} {FILES[1]} && systemctl daemon-reload && nft --file /run/kept.nft"
    )
    assert closed(host, OWN)


def test_rules_without_a_unit_are_taken_away(host: Host) -> None:
    """They are seen where the server is to be open, and leave the kernel."""
    orphan(host)
    host.exec(f"rm {FILES[2]} /etc/apt/apt.conf.d/52ocore-upgrades")
    [security, _] = ocore.drift(server(host), OPEN).steps
    assert security.reasons == ("the firewall's table inet ocore is there",)
    result = ocore.provision(server(host), OPEN)
    assert result.ok, describe(result)
    assert table(host) == ""
    assert answers(host, OWN)
    assert ocore.provision(server(host), CLOSED).ok


def test_it_is_opened_again(host: Host) -> None:
    """Without the option the firewall goes; so it does when the server is cleaned up, with its packages."""
    result = ocore.provision(server(host), OPEN)
    assert result.ok, describe(result)
    assert table(host) == ""
    assert answers(host, OWN)

    assert ocore.provision(server(host), CLOSED).ok
    host.exec("docker rm --force shop")
    orphan(host)
    cleaned = ocore.cleanup(server(host), OPEN)
    assert cleaned.ok, describe(cleaned)
    assert answers(host, OWN)
    assert host.exec(f"ls -d {' '.join(FILES)} /etc/fail2ban /etc/ocore", check=False).stdout == ""
    packages = "fail2ban nftables unattended-upgrades"
    shown = host.exec(f"dpkg-query --show --showformat='${{Package}} ${{Status}}\n' {packages}", check=False).stdout
    assert "install ok" not in shown
