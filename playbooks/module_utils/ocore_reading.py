"""Reading a server for conditions: each thing once, and only when a condition asks for it."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any, Dict, Iterable, List, Optional

from ansible.module_utils.ocore_commands import output
from ansible.module_utils.ocore_docker import DockerSocket
from ansible.module_utils.ocore_packages import installed_packages, unfinished_packages

UNIT_PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,FragmentPath,ActiveEnterTimestamp"
SHOW = ["env", "TZ=UTC", "systemctl", "show"]


class Host:
    """What is read of a server. Whatever concerns Docker raises DockerUnavailable where Docker does not answer."""

    def __init__(self, units: Iterable[str] = (), docker: Optional[DockerSocket] = None) -> None:
        """Take the names of all units that conditions will ask for, so that one call reads them."""
        self._units = sorted(set(units))
        self._docker = docker or DockerSocket()

    @cached_property
    def packages(self) -> Dict[str, str]:
        """Return the installed packages and their versions."""
        return installed_packages()

    @cached_property
    def unfinished(self) -> List[str]:
        """Return the packages that were left half done."""
        return unfinished_packages()

    @cached_property
    def units(self) -> Dict[str, Dict[str, str]]:
        """Return the properties of each unit, by its name."""
        if not self._units:
            return {}
        return parse_units(output([*SHOW, f"--property={UNIT_PROPERTIES}", "--", *self._units]))

    @cached_property
    def docker_info(self) -> Dict[str, Any]:
        """Return what the running Docker says of itself."""
        return self._docker.get("/info") or {}

    @cached_property
    def docker_started(self) -> int:
        """Return when the running Docker started, in seconds since 1970; 0 where systemd does not tell."""
        shown = output([*SHOW, "--property=ExecMainStartTimestamp", "docker.service"])
        return parse_timestamp(shown.strip().partition("=")[2])

    @cached_property
    def containers(self) -> Dict[str, Dict[str, Any]]:
        """Return Docker's containers, running or not, by their names."""
        containers = self._docker.get("/containers/json?all=1") or []
        return {name.lstrip("/"): container for container in containers for name in container.get("Names") or []}

    @cached_property
    def networks(self) -> Dict[str, Dict[str, Any]]:
        """Return Docker's networks by their names."""
        return {str(network.get("Name")): network for network in self._docker.get("/networks") or []}


def parse_timestamp(text: str) -> int:
    """Return a time as systemd writes it ("Tue 2025-11-25 22:04:43 UTC"), in seconds since 1970; 0 for none."""
    try:
        moment = datetime.strptime(f"{text.partition(' ')[2]} +0000", "%Y-%m-%d %H:%M:%S UTC %z")
    except ValueError:
        return 0
    return int(moment.timestamp())


def parse_units(text: str) -> Dict[str, Dict[str, str]]:
    """Return the properties of each unit of what `systemctl show` prints."""
    units = {}
    for block in text.strip().split("\n\n"):
        properties = dict(line.partition("=")[::2] for line in block.splitlines())
        if properties.get("Id"):
            units[properties["Id"]] = properties
    return units
