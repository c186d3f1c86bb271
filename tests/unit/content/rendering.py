"""What a role's data come to on a given system: its defaults and variables, templated as Ansible does it."""

from __future__ import annotations

from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar

from ocore import content

ROLES = content.root() / "roles"
_READY: list[bool] = []

DEBIAN = {
    "os_id": "debian",
    "os_like": [],
    "os_name": "Debian GNU/Linux",
    "os_version": "13.1",
    "os_version_id": "13",
    "os_codename": "trixie",
    "architecture": "amd64",
    "init": "systemd",
    "container": "",
    "package_manager": "apt",
    "ssh_ports": [22],
    "ssh_connection_port": 22,
    "docker_version": None,
    "docker_package": None,
    "docker_repository_ours": False,
    "containers_running": 0,
    "server_id": None,
}


def _loaded(role: str, loader: DataLoader) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pattern in ("defaults/main.yml", "vars/main.yml", "vars/main/*.yml"):
        for file in sorted((ROLES / role).glob(pattern)):
            found |= loader.load_from_file(str(file), trusted_as_template=True) or {}
    return found


def rendered(name: str, *roles: str, facts: dict[str, Any] | None = None, **variables: Any) -> Any:
    """Return a variable of these roles on a system with these facts; `variables` take the place of defaults."""
    if not _READY:
        init_plugin_loader()
        _READY.append(True)
    loader = DataLoader()
    known: dict[str, Any] = {"ansible_facts": {"ocore": DEBIAN | (facts or {})}}
    for role in roles:
        known |= _loaded(role, loader)
    templar = Templar(loader=loader, variables=known | variables)
    return templar.template(known[name])
