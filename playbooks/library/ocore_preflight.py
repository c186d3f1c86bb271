#!/usr/bin/python
"""Ansible module: find out what stands in the way of provisioning a server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ocore_preflight
short_description: Find out what stands in the way of provisioning a server
description:
  - Checks system, hardware, ports, other managers, clock and package sources. Changes nothing.
  - Does not fail by itself; C(msg) is the failure's text for a task that fails when there are findings.
author: oCore
options:
  facts:
    description: The facts that C(ocore_facts) has read.
    type: dict
    required: true
  systems:
    description: The supported systems by their C(os_id), each with its oldest version.
    type: dict
    required: true
  architectures:
    description: The supported architectures.
    type: list
    elements: str
    required: true
  minimum_memory_mb:
    description: The least memory, in MiB.
    type: int
    required: true
  minimum_disk_gb:
    description: The least free disk, in GiB; what our own containers use counts as free.
    type: int
    required: true
  maximum_clock_skew:
    description: By how many seconds the clock may differ from the controller's.
    type: int
    required: true
  controller_time:
    description: The controller's time, in seconds since 1970.
    type: int
    required: true
  ports:
    description: Ports that must be free, or held by our own proxy.
    type: list
    elements: int
    default: []
  server_id:
    description: To whom the server must belong, if it belongs to anybody; empty for no matter.
    type: str
    default: ""
  apt_proxy:
    description: The proxy through which packages will come; empty for the one that apt is configured with.
    type: str
    default: ""
  swap_mb:
    description:
      - The size of the swap file that is asked for, in MiB. While it is not there, the disk needs room for it, too.
      - A warning tells where there will be none.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Check the server
  ocore_preflight:
    facts: "{{ ansible_facts['ocore'] }}"
    systems: {debian: "12"}
    architectures: [amd64]
    minimum_memory_mb: 900
    minimum_disk_gb: 10
    maximum_clock_skew: 300
    controller_time: "{{ now(fmt='%s') }}"
  register: preflight
  failed_when: preflight.findings | length > 0
"""

RETURN = r"""
findings:
  description: What stands in the way, the most fundamental first.
  returned: always
  type: list
  elements: dict
  sample: [{"code": "port_in_use", "message": "Port 80 is held by nginx (process 812); stop it."}]
warnings:
  description: What does not stand in the way, but should be known.
  returned: when there is something
  type: list
  elements: str
"""

import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ocore_docker import DockerSocket, DockerUnavailable
from ansible.module_utils.ocore_egress import Address, package_sources, unreachable
from ansible.module_utils.ocore_managers import managers
from ansible.module_utils.ocore_marker import MARKER
from ansible.module_utils.ocore_package_locks import busy
from ansible.module_utils.ocore_packages import installed_packages
from ansible.module_utils.ocore_processes import Listener, listeners
from ansible.module_utils.ocore_system import nearest_existing
from ansible.module_utils.ocore_text import plain
from ansible.module_utils.ocore_versions import at_least

MIB = 1024**2
GIB = 1024**3
MAX_MESSAGE = 400
DOCKER_DATA = "/var/lib/docker"
SWAP_FILE = "/var/lib/ocore/swap"
MANAGED = "sh.ocore.managed"
REBOOT = "/run/reboot-required"

OPTIONS: Dict[str, Any] = {
    "facts": {"type": "dict", "required": True},
    "systems": {"type": "dict", "required": True},
    "architectures": {"type": "list", "elements": "str", "required": True},
    "minimum_memory_mb": {"type": "int", "required": True},
    "minimum_disk_gb": {"type": "int", "required": True},
    "maximum_clock_skew": {"type": "int", "required": True},
    "controller_time": {"type": "int", "required": True},
    "ports": {"type": "list", "elements": "int", "default": []},
    "server_id": {"type": "str", "default": ""},
    "apt_proxy": {"type": "str", "default": ""},
    "swap_mb": {"type": "int", "default": 0},
}


class Finding(NamedTuple):
    """Something that stands in the way: a code for programs, a sentence for people."""

    code: str
    message: str


# --- what the facts say -----------------------------------------------------------------------------------------------


def check_system(facts: Dict[str, Any], options: Dict[str, Any]) -> List[Finding]:
    """Check system, architecture and init."""
    found = []
    oldest = options["systems"].get(facts["os_id"])
    if oldest is None or not at_least(facts["os_version_id"], str(oldest)):
        supported = ", ".join(f"{name} {version} or newer" for name, version in options["systems"].items())
        system = f"{facts['os_name']} {facts['os_version']}"
        message = f"{system} is not supported; use a server with one of: {supported}."
        found.append(Finding("os_unsupported", message))
    if facts["architecture"] not in options["architectures"]:
        supported = ", ".join(options["architectures"])
        message = f"The architecture {facts['architecture']} is not supported; use one of: {supported}."
        found.append(Finding("arch_unsupported", message))
    if facts["init"] != "systemd":
        message = f"The server is run by {facts['init'] or 'an unknown init'}; use one that is run by systemd."
        found.append(Finding("init_unsupported", message))
    return found


def check_hardware(facts: Dict[str, Any], options: Dict[str, Any]) -> List[Finding]:
    """Check memory and free disk; what our own containers use is as good as free, for it is ours to use."""
    found = []
    memory, minimum = facts["ram_total_bytes"] // MIB, options["minimum_memory_mb"]
    if memory < minimum:
        message = f"The server has {memory} MB of memory and needs {minimum} MB; give it more."
        found.append(Finding("memory_low", message))
    free, minimum = (facts["disk_free_bytes"] + facts["own_disk_bytes"]) / GIB, options["minimum_disk_gb"]
    swap = swap_to_come(facts, options["swap_mb"])
    if free < minimum + swap / 1024:
        needs = f"{minimum} GB, and {swap} MB for the swap file" if swap else f"{minimum} GB"
        message = (
            f"The disk that holds {DOCKER_DATA} has {free:.1f} GB free and needs {needs}; free some or enlarge it."
        )
        found.append(Finding("disk_low", message))
    return found


def swap_to_come(facts: Dict[str, Any], swap_mb: int) -> int:
    """Return how many MiB of Docker's disk a swap file will take; one of another size is made anew beside it."""
    if not swap_mb or facts.get("container"):
        return 0
    home = nearest_existing(str(Path(SWAP_FILE).parent))
    if home.stat().st_dev != nearest_existing(DOCKER_DATA).stat().st_dev:
        return 0
    is_there = Path(SWAP_FILE).is_file() and Path(SWAP_FILE).stat().st_size == swap_mb * MIB
    return 0 if is_there else max(0, swap_mb - begun(Path(f"{SWAP_FILE}.ocore-part")))


def begun(draft: Path) -> int:
    """Return how many MiB a run that was killed has left of a swap file; the next one writes over it."""
    return draft.stat().st_blocks * 512 // MIB if draft.is_file() else 0


def check_owner(facts: Dict[str, Any], server_id: str) -> List[Finding]:
    """Check that the server does not belong to another oCore."""
    owner = facts["server_id"]
    if not server_id or not owner or owner == server_id:
        return []
    message = (
        f"The server belongs to another oCore (as {owner}): remove it there (`ocore cleanup`, or DELETE in the "
        f"service), or delete {MARKER}."
    )
    return [Finding("foreign_manager", message)]


def check_clock(skew: float, maximum: int) -> List[Finding]:
    """Check the clock: certificates and package lists are refused where it is wrong."""
    if abs(skew) <= maximum:
        return []
    how = f"{abs(skew):.0f} s {'fast' if skew > 0 else 'slow'}"
    message = f"The clock is {how}; turn on time synchronisation (`timedatectl set-ntp true`)."
    return [Finding("clock_skewed", message)]


def warn_of_swap(facts: Dict[str, Any], swap_mb: int) -> List[str]:
    """Say that a container gets no swap file."""
    if not swap_mb or not facts.get("container"):
        return []
    return [f"The server is a container ({facts['container']}): swap is its machine's affair, and it gets none."]


# --- ports ------------------------------------------------------------------------------------------------------------


def name_of(container: Dict[str, Any]) -> str:
    """Return a container's name as people know it."""
    return str((container.get("Names") or ["/"])[0]).lstrip("/")


def publisher(port: int, containers: Sequence[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    """Return the container that publishes a port."""
    for container in containers:
        if any(published.get("PublicPort") == port for published in container.get("Ports") or []):
            return container
    return None


def container_behind(listener: Listener, containers: Sequence[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    """Return the container in which a listener runs, as one does that uses the host's own network."""
    return next((one for one in containers if listener.container and one.get("Id") == listener.container), None)


def holder(listener: Listener, containers: Sequence[Dict[str, Any]]) -> Optional[str]:
    """Return who holds a port; None where it is a container of ours."""
    container = container_behind(listener, containers)
    if container is None and listener.program == "docker-proxy":
        container = publisher(listener.port, containers)
    if container is not None and (container.get("Labels") or {}).get(MANAGED) == "true":
        return None
    process = f"{listener.program} (process {listener.pid or 'unknown'})"
    return process if container is None else f"container {name_of(container)}, by {process}"


def check_ports(ports: Sequence[int], found: Sequence[Listener], containers: Sequence[Dict[str, Any]]) -> List[Finding]:
    """Check that ports are free or ours. A container can hold one without any process that listens at it."""
    holders: Dict[int, str] = {}
    for listener in found:
        who = holder(listener, containers)
        if who:
            holders.setdefault(listener.port, who)
    for port in ports:
        container = publisher(port, containers)
        if container is not None and (container.get("Labels") or {}).get(MANAGED) != "true":
            holders.setdefault(port, f"container {name_of(container)}")
    advice = "stop what holds it, or provision without a proxy"
    return [
        Finding("port_in_use", plain(f"Port {port} is held by {who}; {advice}.", MAX_MESSAGE))
        for port, who in sorted(holders.items())
    ]


# --- package sources --------------------------------------------------------------------------------------------------


def check_sources(sources: Sequence[Address], silent: Dict[Address, str]) -> Tuple[List[Finding], List[str]]:
    """Check that a package source answers; that only some do is a warning."""
    if not sources:
        return [], ["The package manager is configured with no package source on the network."]
    said = ", ".join(f"{host}:{port} ({why})" for (host, port), why in sorted(silent.items()))
    if len(silent) == len(sources):
        message = f"No package source answers: {said}; open the way to it, or name a proxy (packages_apt_proxy)."
        return [Finding("egress_blocked", plain(message, MAX_MESSAGE))], []
    return [], [plain(f"These package sources do not answer: {said}")] if silent else []


# --- reading, and the answer ------------------------------------------------------------------------------------------


def read_docker() -> Tuple[Dict[str, Any], List[Dict[str, Any]]]:
    """Return what Docker says of itself, and its running containers; nothing where it does not answer."""
    docker = DockerSocket()
    try:
        return docker.get("/info") or {}, docker.get("/containers/json") or []
    except DockerUnavailable:
        return {}, []


def examine(options: Dict[str, Any]) -> Tuple[List[Finding], List[str]]:
    """Read the server and return what stands in the way, and what should be known."""
    facts = options["facts"]
    skew = time.time() - options["controller_time"]
    docker_info, containers = read_docker()
    ports = options["ports"]
    findings = check_system(facts, options) + check_owner(facts, options["server_id"])
    for manager in managers(installed_packages(), docker_info):
        message = f"The server is managed by {manager}; use a server of its own, or remove that first."
        findings.append(Finding("foreign_manager", plain(message)))
    findings += check_hardware(facts, options) + check_ports(ports, listeners(ports), containers)
    findings += check_clock(skew, options["maximum_clock_skew"])
    sources = package_sources(options["apt_proxy"])
    blocked, warnings = check_sources(sources, unreachable(sources))
    warnings += [f"The package manager is busy; provisioning will wait: {who}" for who in busy()]
    warnings += warn_of_swap(facts, options["swap_mb"])
    if Path(REBOOT).exists():
        warnings.append("The server waits for a reboot, which oCore does not do.")
    return findings + blocked, warnings


def message(findings: Sequence[Finding]) -> str:
    """Return all findings as one failure: the first one's code, and every sentence."""
    return f"[{findings[0].code}] {' '.join(finding.message for finding in findings)}"


def main() -> None:
    """Answer one call."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    findings, warnings = examine(module.params)
    for warning in warnings:
        module.warn(warning)
    answer: Dict[str, Any] = {"findings": [finding._asdict() for finding in findings]}
    if findings:
        answer["msg"] = message(findings)
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
