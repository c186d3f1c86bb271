"""What stands in the way of provisioning a server."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import ocore_preflight as preflight
import pytest
from ansible.module_utils.ocore_egress import address, addresses, unreachable
from ansible.module_utils.ocore_managers import managers
from ansible.module_utils.ocore_processes import Listener, container_of, listeners, listening_sockets, lock_holder

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1024**3
OPTIONS: dict[str, Any] = {
    "systems": {"debian": "12", "ubuntu": "22.04"},
    "architectures": ["amd64", "arm64"],
    "minimum_memory_mb": 900,
    "minimum_disk_gb": 10,
    "swap_mb": 0,
}
FACTS: dict[str, Any] = {
    "os_id": "debian",
    "os_name": "Debian GNU/Linux",
    "os_version": "13.1",
    "os_version_id": "13",
    "architecture": "amd64",
    "init": "systemd",
    "ram_total_bytes": 2 * GIB,
    "disk_free_bytes": 20 * GIB,
    "own_disk_bytes": 0,
    "server_id": None,
}
OURS = {
    "Id": "a" * 64,
    "Names": ["/ocore-proxy"],
    "Labels": {"sh.ocore.managed": "true"},
    "Ports": [{"PublicPort": 80}],
}
SHOP = {"Id": "b" * 64, "Names": ["/shop"], "Labels": {}, "Ports": [{"PublicPort": 80}, {"PrivatePort": 9000}]}
DOCKER_PROXY = Listener(80, 812, "docker-proxy", None)


def codes(findings: list[preflight.Finding]) -> list[str]:
    """Return the codes of findings."""
    return [finding.code for finding in findings]


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({}, []),
        ({"os_version_id": "12"}, []),
        ({"os_version_id": "10"}, ["os_unsupported"]),
        ({"os_id": "ubuntu", "os_version_id": "22.04"}, []),
        ({"os_id": "ubuntu", "os_version_id": "20.04"}, ["os_unsupported"]),
        ({"os_id": "arch", "os_version_id": ""}, ["os_unsupported"]),
        ({"architecture": "riscv64"}, ["arch_unsupported"]),
        ({"init": "openrc-init"}, ["init_unsupported"]),
        (
            {"os_id": "alpine", "architecture": "ppc64le", "init": ""},
            ["os_unsupported", "arch_unsupported", "init_unsupported"],
        ),
    ],
)
def test_the_system_must_be_a_supported_one(facts: dict[str, Any], found: list[str]) -> None:
    """Each of system, architecture and init is checked, and all that is wrong is found at once."""
    assert codes(preflight.check_system({**FACTS, **facts}, OPTIONS)) == found


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({}, []),
        ({"ram_total_bytes": 900 * 1024**2}, []),
        ({"ram_total_bytes": 900 * 1024**2 - 1}, ["memory_low"]),
        ({"disk_free_bytes": 9 * GIB}, ["disk_low"]),
        ({"disk_free_bytes": 9 * GIB, "own_disk_bytes": GIB}, []),
        ({"ram_total_bytes": 0, "disk_free_bytes": 0}, ["memory_low", "disk_low"]),
    ],
)
def test_the_hardware_must_reach_the_minimum(facts: dict[str, Any], found: list[str]) -> None:
    """Memory and free disk are compared exactly; what our own containers use counts as free."""
    assert codes(preflight.check_hardware({**FACTS, **facts}, OPTIONS)) == found


@pytest.mark.parametrize(
    ("owner", "server_id", "found"),
    [(None, "7", []), ("7", "7", []), ("", "7", []), ("8", "", []), ("8", "7", ["foreign_manager"])],
)
def test_a_server_of_another_ocore_is_left_alone(owner: str | None, server_id: str, found: list[str]) -> None:
    """Only a server that is marked with another id is refused, and only where we have an id ourselves."""
    assert codes(preflight.check_owner({**FACTS, "server_id": owner}, server_id)) == found


@pytest.mark.parametrize(("skew", "says"), [(299.0, ""), (-299.0, ""), (400.0, "400 s fast"), (-400.0, "400 s slow")])
def test_the_clock_may_differ_a_little(skew: float, says: str) -> None:
    """A clock that is too far off is refused in either direction, and the direction is named."""
    found = preflight.check_clock(skew, 300)
    assert codes(found) == (["clock_skewed"] if says else [])
    assert all(says in finding.message for finding in found)


# --- ports ------------------------------------------------------------------------------------------------------------


def test_free_ports_are_fine() -> None:
    """Where nobody listens and no container publishes, there is nothing to find."""
    assert preflight.check_ports([80, 443], [], []) == []


def test_a_process_that_holds_a_port_is_named() -> None:
    """Program and process id are named, so that a person can stop it."""
    [finding] = preflight.check_ports([80, 443], [Listener(80, 4711, "nginx", None)], [])
    assert finding.code == "port_in_use"
    assert finding.message.startswith("Port 80 is held by nginx (process 4711);")


def test_our_own_proxy_may_hold_its_ports() -> None:
    """Docker's helper that listens for our own container is no stranger."""
    assert preflight.check_ports([80], [DOCKER_PROXY], [OURS]) == []


def test_a_strangers_container_is_named() -> None:
    """Where Docker's helper listens for another container, that container is named with it."""
    [finding] = preflight.check_ports([80, 443], [DOCKER_PROXY], [SHOP])
    assert finding.message.startswith("Port 80 is held by container shop, by docker-proxy (process 812);")


def test_a_container_without_a_listener_holds_its_port() -> None:
    """Docker can forward a port without any process that listens; the port is taken all the same."""
    [finding] = preflight.check_ports([80], [], [SHOP])
    assert finding.message.startswith("Port 80 is held by container shop;")


def test_a_container_in_the_hosts_network_is_named() -> None:
    """A process in a container that uses the host's network is named with its container."""
    [finding] = preflight.check_ports([443], [Listener(443, 9, "httpd", SHOP["Id"])], [SHOP])
    assert finding.message.startswith("Port 443 is held by container shop, by httpd (process 9);")


def test_a_listener_is_found_with_its_process() -> None:
    """A socket that listens is found in the kernel's tables, with the process that has it open."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = listeners([port])
    assert [(one.port, one.pid) for one in found] == [(port, os.getpid())]
    assert listeners([port]) == []


def test_only_sockets_that_listen_count() -> None:
    """Of the kernel's table only those sockets count that listen, over IPv4 and IPv6."""
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0\n"
        "   1: 0100007F:0051 0200007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0\n"
        "   2: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 333 1 0\n"
    )
    assert listening_sockets(table) == {"111": 80, "333": 443}
    assert listening_sockets("") == {}


def test_a_control_group_tells_the_container() -> None:
    """Both generations of control groups carry the container's id in their path."""
    assert container_of(f"0::/system.slice/docker-{'a' * 64}.scope\n") == "a" * 64
    assert container_of(f"4:cpu:/docker/{'b' * 64}\n") == "b" * 64
    assert container_of("0::/system.slice/nginx.service\n") is None


# --- other managers, locks and package sources ------------------------------------------------------------------------


def test_other_managers_are_found_by_their_traces(tmp_path: Path) -> None:
    """Directories, packages and Docker's own word betray who else manages the server."""
    (tmp_path / "data" / "coolify").mkdir(parents=True)
    found = managers({"podman-docker": "1"}, {"Swarm": {"LocalNodeState": "active"}}, root=str(tmp_path))
    assert [name.split(" (")[0] for name in found] == ["Coolify", "Podman in Docker's place", "Docker Swarm"]


def test_an_ordinary_server_has_no_other_manager(tmp_path: Path) -> None:
    """Docker alone, without a swarm, is nobody's mark."""
    assert managers({"docker.io": "1"}, {"Swarm": {"LocalNodeState": "inactive"}}, root=str(tmp_path)) == []
    assert managers({}, {}, root=str(tmp_path)) == []


def test_the_holder_of_a_lock_is_found(tmp_path: Path) -> None:
    """Another process that holds a file's lock is found by its id; nobody holds a free or missing one."""
    path = tmp_path / "lock"
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(); sys.stdin.read()"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(path)], **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert lock_holder(str(path)) == process.pid
        process.communicate()
    assert lock_holder(str(path)) is None
    assert lock_holder(str(tmp_path / "missing")) is None
    with path.open() as file:
        fcntl.lockf(file, fcntl.LOCK_SH)
        assert lock_holder(str(path)) is None  # a process does not stand in its own way


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("http://packages.example.org/debian/", ("packages.example.org", 80)),
        ("https://download.docker.com/linux/debian", ("download.docker.com", 443)),
        ("http://[2001:db8::1]:3142/debian", ("2001:db8::1", 3142)),
        ("cdrom:[Debian 13]/", None),
        ("file:/srv/mirror", None),
        ("http://host:port/", None),
        ("", None),
    ],
)
def test_a_sources_address_is_read(uri: str, found: tuple[str, int] | None) -> None:
    """Sources on the network have host and port; others have no address, and nonsense has none either."""
    assert address(uri) == found


def test_each_address_is_tried_once() -> None:
    """Many sources are on one host, which needs one connection."""
    uris = "http://a/debian\nhttp://a/security\ncdrom:x\nhttps://b/\n"
    assert addresses(uris) == [("a", 80), ("b", 443)]


def test_what_answers_is_told_from_what_does_not() -> None:
    """Addresses are tried at once; those that refuse or do not resolve are named with the reason."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        good = ("127.0.0.1", server.getsockname()[1])
        with socket.create_server(("127.0.0.1", 0)) as other:
            bad = ("127.0.0.1", other.getsockname()[1])
        assert unreachable([good, bad]) == {bad: "Connection refused"}


SOURCES = [("a", 80), ("b", 443)]


def test_some_silent_sources_are_a_warning() -> None:
    """Where one package source answers, the others' silence does not stand in the way."""
    assert preflight.check_sources(SOURCES, {}) == ([], [])
    findings, warnings = preflight.check_sources(SOURCES, {("b", 443): "no answer"})
    assert (findings, warnings) == ([], ["These package sources do not answer: b:443 (no answer)"])


def test_no_answer_at_all_stands_in_the_way() -> None:
    """Where no package source answers, all are named."""
    [finding], warnings = preflight.check_sources(SOURCES, dict.fromkeys(SOURCES, "no answer"))
    assert (finding.code, warnings) == ("egress_blocked", [])
    assert "a:80 (no answer), b:443 (no answer)" in finding.message


def test_no_source_at_all_is_a_warning() -> None:
    """A server whose packages come from elsewhere can be provisioned; it is worth a word."""
    assert preflight.check_sources([], {})[0] == []


def test_a_failure_has_the_first_code_and_every_sentence() -> None:
    """One message carries everything, so that nobody has to try again to learn the next."""
    findings = [preflight.Finding("memory_low", "Too little."), preflight.Finding("disk_low", "Too full.")]
    assert preflight.message(findings) == "[memory_low] Too little. Too full."
