#!/usr/bin/python
"""Ansible module: read the facts of a server that oCore uses."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ocore_facts
short_description: Read the facts of a server that oCore uses
description:
  - Reads system, hardware and Docker in one call, and changes nothing.
  - Every text is at most 200 characters long and has no control characters.
author: oCore
"""

EXAMPLES = r"""
- name: Read the server's facts
  ocore_facts:
"""

RETURN = r"""
ansible_facts:
  description: One fact, C(ocore), a dictionary.
  returned: always
  type: dict
  sample: {"ocore": {"os_id": "debian", "os_version": "13.1", "cpu_cores": 4, "docker_version": null}}
"""

import json
import platform
from typing import Any, Dict, List
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ocore_docker import DockerSocket, DockerUnavailable
from ansible.module_utils.ocore_manifest import ManifestError, find, load
from ansible.module_utils.ocore_marker import server_id
from ansible.module_utils.ocore_packages import installed_packages, manager
from ansible.module_utils.ocore_ssh import ssh_facts
from ansible.module_utils.ocore_system import hardware_facts, os_facts
from ansible.module_utils.ocore_text import plain

DOCKER_DATA = "/var/lib/docker"
# By package manager, for Debian has a `docker` that is another program.
DOCKER_PACKAGES = {"apt": ("docker-ce", "docker.io"), "dnf": ("docker-ce", "docker")}
DOCKER_REPOSITORIES = ("/etc/apt/sources.list.d/docker.sources", "/etc/yum.repos.d/ocore-docker.repo")
OURS = quote(json.dumps({"label": ["sh.ocore.managed=true"]}))
NO_DOCKER = {"docker_version": None, "containers_running": 0, "own_disk_bytes": 0}


def own_disk_bytes(containers: List[Dict[str, Any]], images: List[Dict[str, Any]]) -> int:
    """Return what our containers take on the disk: what they wrote, and each image that they use, once."""
    used = {container.get("ImageID") for container in containers}
    written = sum(container.get("SizeRw") or 0 for container in containers)
    return written + sum(image.get("Size") or 0 for image in images if image.get("Id") in used)


def docker_facts(docker: DockerSocket) -> Dict[str, Any]:
    """Return what Docker says of itself and of our containers."""
    try:
        version = docker.get("/version") or {}
        running = docker.get("/containers/json") or []
        ours = docker.get("/containers/json?all=1&size=1&filters=" + OURS) or []
        images = docker.get("/images/json") if ours else []
    except DockerUnavailable:
        return NO_DOCKER
    return {
        "docker_version": plain(version.get("Version", "")) or None,
        "containers_running": len(running),
        "own_disk_bytes": own_disk_bytes(ours, images or []),
    }


def docker_repository_ours() -> bool:
    """Tell whether it was us who added Docker's own repository."""
    try:
        manifest = load()
        return any(find(manifest, {"kind": "file", "path": path}) for path in DOCKER_REPOSITORIES)
    except (ManifestError, OSError):
        return False


def gather() -> Dict[str, Any]:
    """Return all facts."""
    facts: Dict[str, Any] = {"python_version": platform.python_version(), "server_id": server_id()}
    facts.update(os_facts())
    facts.update(ssh_facts())
    facts.update(hardware_facts(DOCKER_DATA))
    facts.update(docker_facts(DockerSocket()))
    packages = installed_packages()
    facts["package_manager"] = manager()
    known = DOCKER_PACKAGES.get(facts["package_manager"], ())
    facts["docker_package"] = next((name for name in known if name in packages), None)
    facts["docker_repository_ours"] = docker_repository_ours()
    return facts


def main() -> None:
    """Answer one call."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, ansible_facts={"ocore": gather()})


if __name__ == "__main__":
    main()
