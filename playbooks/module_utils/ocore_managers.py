"""Other programs that manage a whole server: oCore does not share a server with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Container, Dict, List

# What a program leaves on a server that it manages.
MANAGERS = (
    ("Coolify", "/data/coolify"),
    ("Dokploy", "/etc/dokploy"),
    ("CapRover", "/captain"),
    ("Easypanel", "/etc/easypanel"),
    ("Cloudron", "/home/yellowtent"),
    ("YunoHost", "/etc/yunohost"),
    ("Plesk", "/usr/local/psa"),
    ("cPanel", "/usr/local/cpanel"),
    ("CloudPanel", "/home/clp"),
    ("DirectAdmin", "/usr/local/directadmin"),
    ("HestiaCP", "/usr/local/hestia"),
    ("Kubernetes (kubelet)", "/etc/kubernetes/kubelet.conf"),
    ("k3s", "/etc/rancher/k3s"),
    ("RKE2", "/etc/rancher/rke2"),
    ("MicroK8s", "/var/snap/microk8s"),
    ("Docker as a snap", "/var/snap/docker"),
)
PODMAN = "podman-docker"


def managers(packages: Container[str], docker_info: Dict[str, Any], root: str = "/") -> List[str]:
    """Return the other managers found, each with the trace by which it was found."""
    found = [f"{name} ({path})" for name, path in MANAGERS if Path(root, path.lstrip("/")).exists()]
    if PODMAN in packages:
        found.append(f"Podman in Docker's place (package {PODMAN})")
    swarm = docker_info.get("Swarm") or {}
    if swarm.get("LocalNodeState", "inactive") != "inactive":
        found.append("Docker Swarm (this server is one of its nodes)")
    return found
