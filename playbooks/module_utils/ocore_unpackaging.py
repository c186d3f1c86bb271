"""Deciding which packages go again: those that we installed and what they brought, as far as nobody else needs them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Collection, Dict, List, NamedTuple, Set

from ansible.module_utils.ocore_apt import Simulation
from ansible.module_utils.ocore_docker import DockerSocket, DockerUnavailable
from ansible.module_utils.ocore_manifest import Entry, Manifest, of_kind
from ansible.module_utils.ocore_present import docker_path
from ansible.module_utils.ocore_recording import is_dockers, parsed
from ansible.module_utils.ocore_text import plain, read_text
from ansible.module_utils.ocore_undoing import listed

# Ansible itself works with it, and by now other programs may as well.
NEVER = re.compile(r"python3(\.\d+)?(-minimal)?$")
DATA_ROOT = "/var/lib/docker"
SHORT_ID = 12
_WIPES_DATA = re.compile(r"\brm\b.*/var/lib/(docker|containerd)")

Simulate = Callable[[Collection[str]], Simulation]


class Installed(NamedTuple):
    """The packages that are installed.

    `automatic` are those that apt installed only because others need them; `recommends` is what each one recommends or
    suggests.
    """

    names: Set[str]
    automatic: Set[str]
    recommends: Dict[str, Set[str]]


@dataclass
class Choice:
    """Which packages go, and for each recorded one that stays the reason."""

    go: Set[str]
    kept: Dict[str, str]


def choose(manifest: Manifest, installed: Installed, use_of_docker: str, simulate: Simulate) -> Choice:
    """Return which packages go.

    `use_of_docker` says who else uses Docker, or nothing; `simulate` asks apt what removing some packages would do.
    """
    entries = [entry for entry in of_kind(manifest, "package") if entry["name"] in installed.names]
    recorded = {entry["name"] for entry in entries}
    guessed = _guessed(manifest, installed) - recorded
    wanted = _recommended_by_others(manifest, installed, recorded | guessed)
    reasons = {entry["name"]: _why_kept(entry, use_of_docker, wanted) for entry in entries}
    kept = {name: reason for name, reason in reasons.items() if reason}
    groups = _groups([entry for entry in entries if entry["name"] not in kept])
    groups += [{name} for name in sorted(guessed - wanted)]
    needed = _needed_by_others(groups, simulate)
    kept.update({name: reason for name, reason in needed.items() if name in recorded})
    return Choice(set().union(*groups).difference(needed), kept)


def _guessed(manifest: Manifest, installed: Installed) -> Set[str]:
    """Return what may have come along with packages of which apt did not tell beforehand what they bring."""
    if all(entry.get("brought") or entry.get("told") for entry in of_kind(manifest, "package")):
        return set()
    return _newer(manifest, installed) & installed.automatic


def _newer(manifest: Manifest, installed: Installed) -> Set[str]:
    """Return the packages that were not there before the first of ours."""
    before = manifest["packages_before"]
    return installed.names.difference(before["installed"]) if before else set()


def _recommended_by_others(manifest: Manifest, installed: Installed, ours: Set[str]) -> Set[str]:
    """Return what packages recommend that somebody else has installed since.

    What a package of before recommends was not there either.
    """
    others = _newer(manifest, installed) - ours
    return set().union(*(installed.recommends.get(name, set()) for name in others))


def _why_kept(entry: Entry, use_of_docker: str, wanted: Set[str]) -> str:
    if NEVER.match(entry["name"]):
        return "Ansible and other programs work with it"
    if is_dockers(entry) and use_of_docker:
        return use_of_docker
    return "packages of others recommend it" if entry["name"] in wanted and not is_dockers(entry) else ""


def _groups(entries: List[Entry]) -> List[Set[str]]:
    """Return the packages that go together or stay together: Docker's, and each of the others alone."""
    docker = {entry["name"] for entry in entries if is_dockers(entry) and not entry.get("brought")}
    alone = [{entry["name"]} for entry in entries if entry["name"] not in docker]
    return [docker, *alone] if docker else alone


def _needed_by_others(groups: List[Set[str]], simulate: Simulate) -> Dict[str, str]:
    """Return the packages of groups that cannot go without taking others' along, each with the reason."""
    going: Set[str] = set().union(*groups)
    if not going or _harmless(going, simulate(going), going):
        return {}
    would = [(group, simulate(group)) for group in groups]
    stays: Dict[str, str] = {}
    while True:
        stuck = [(group, what) for group, what in would if group <= going and not _harmless(group, what, going)]
        if not stuck:
            return stays
        for group, what in stuck:
            strangers = sorted((what.removed - going) | what.installed)
            reason = f"others need it: {listed(strangers)}" if strangers else "apt does not say who else needs it"
            stays.update(dict.fromkeys(group, reason))
        going = going.difference(*(group for group, _ in stuck))


def _harmless(group: Set[str], would: Simulation, going: Set[str]) -> bool:
    return group <= would.removed <= going and not would.installed


def purgeable(names: Collection[str], manifest: Manifest, postrm: Callable[[str], str]) -> Set[str]:
    """Return the packages whose configuration files go as well.

    Not those whose files were there before, nor those whose clean-up script (which `postrm` reads) deletes the data of
    Docker: that always stays.
    """
    before = set((manifest["packages_before"] or {}).get("config_files", []))
    return {name for name in names if name not in before and not _WIPES_DATA.search(postrm(name))}


# --- who else uses Docker ---------------------------------------------------------------------------------------------


def docker_use(docker: DockerSocket, manifest: Manifest, configuration: str) -> str:
    """Return who else uses Docker, as a reason for leaving it; nothing where nobody does.

    A Docker that does not answer (it never came up, or is half removed) is asked by its data.
    """
    try:
        found = {
            "containers": others_containers(docker, manifest, "/containers/json?all=1"),
            "images": [_image_name(item) for item in _not_ours(docker, manifest, "image", "/images/json")],
            "volumes": [plain(item.get("Name")) for item in (docker.get("/volumes") or {}).get("Volumes") or []],
        }
    except DockerUnavailable:
        settings = parsed(read_text(configuration)) or {}
        found = on_disk(Path(str(settings.get("data-root") or DATA_ROOT)))
    uses = [f"{kind} {listed(sorted(names))}" for kind, names in found.items() if names]
    return f"others use Docker: {'; '.join(uses)}" if uses else ""


def on_disk(data: Path) -> Dict[str, List[str]]:
    """Return the containers, images and volumes in Docker's data, by what stands for a name there."""
    repositories = [parsed(read_text(str(path))) or {} for path in data.glob("image/*/repositories.json")]
    return {
        "containers": [plain(path.name, SHORT_ID) for path in data.glob("containers/*")],
        "images": [plain(name) for found in repositories for name in found.get("Repositories") or ()],
        "volumes": [plain(path.parent.name) for path in data.glob("volumes/*/_data")],
    }


def others_containers(docker: DockerSocket, manifest: Manifest, path: str) -> List[str]:
    """Return the names of the containers that a path of Docker's API lists, without ours."""
    return [_container_name(item) for item in _not_ours(docker, manifest, "container", path)]


def _not_ours(docker: DockerSocket, manifest: Manifest, kind: str, path: str) -> List[Dict[str, Any]]:
    """Return what a path of Docker's API lists, without the containers or images that are recorded."""
    recorded = (docker.get(docker_path(kind, entry["name"])) for entry in of_kind(manifest, kind))
    ours = {answer["Id"] for answer in recorded if answer}
    return [item for item in docker.get(path) or [] if item.get("Id") not in ours]


def _container_name(item: Dict[str, Any]) -> str:
    return plain(((item.get("Names") or [item.get("Id")])[0] or "").lstrip("/"))


def _image_name(item: Dict[str, Any]) -> str:
    names = (item.get("RepoTags") or []) + (item.get("RepoDigests") or []) + [item.get("Id")]
    return plain(names[0])
