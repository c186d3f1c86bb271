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
from ansible.module_utils.ocore_undoing import ALL_CONTAINERS, container_name, is_ours, listed

# Ansible itself works with it, and by now other programs may as well.
NEVER = re.compile(r"python3(\.\d+)?(-minimal)?$")
DATA_ROOT = "/var/lib/docker"
# Those that every Docker has.
DOCKERS_NETWORKS = ("bridge", "host", "none")
DPKG_INFO = "/var/lib/dpkg/info"
SHORT_ID = 12
_WIPES_DATA = re.compile(r"\brm\b.*/var/lib/(docker|containerd)")

Simulate = Callable[[Collection[str]], Simulation]


class Installed(NamedTuple):
    """The packages that are installed.

    `automatic` are those that apt installed only because others need them; `recommends` is what each one recommends or
    suggests, `depends` what it depends on.
    """

    names: Set[str]
    automatic: Set[str]
    recommends: Dict[str, Set[str]]
    depends: Dict[str, Set[str]]


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
    """Return what may have come along with packages of which apt did not tell beforehand what they bring.

    Only what these depend on: others may have brought packages since, which nobody needs any more either.
    """
    untold = {
        entry["name"] for entry in of_kind(manifest, "package") if not entry.get("brought") and not entry.get("told")
    }
    return _newer(manifest, installed) & installed.automatic & _needed_by(untold, installed.depends)


def _needed_by(names: Set[str], depends: Dict[str, Set[str]]) -> Set[str]:
    """Return what packages depend on, directly or not."""
    needed: Set[str] = set()
    todo = set(names)
    while todo:
        todo = set().union(*(depends.get(name, set()) for name in todo)) - needed
        needed |= todo
    return needed


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


def postrm_of(name: str, info: str = DPKG_INFO) -> str:
    """Return a package's clean-up scripts, those of all its architectures; raises OSError where one cannot be read."""
    scripts = [*Path(info).glob(f"{name}.postrm"), *Path(info).glob(f"{name}:*.postrm")]
    return "".join(script.read_text(encoding="utf-8", errors="replace") for script in scripts)


# --- who else uses Docker ---------------------------------------------------------------------------------------------


def docker_use(docker: DockerSocket, manifest: Manifest, configuration: str, *, runs: bool) -> str:
    """Return who else uses Docker, as a reason for leaving it; nothing where nobody does.

    A Docker that does not answer because it does not run (it never came up, or is half removed) is asked by its data;
    one that runs may have anything in it.
    """
    try:
        found = {
            "containers": others_containers(docker),
            "images": [_image_name(item) for item in _images_not_ours(docker, manifest)],
            "volumes": [plain(item.get("Name")) for item in (docker.get("/volumes") or {}).get("Volumes") or []],
            # Those of a swarm are among them.
            "networks": [plain(item.get("Name")) for item in docker.get("/networks") or [] if not _is_known(item)],
        }
    except DockerUnavailable as error:
        if runs:
            return f"it runs, and nobody can tell who uses it: {error}"
        found = data_use(manifest, configuration)
    uses = [f"{kind} {listed(sorted(names))}" for kind, names in found.items() if names]
    return f"others use Docker: {'; '.join(uses)}" if uses else ""


def data_use(manifest: Manifest, configuration: str) -> Dict[str, List[str]]:
    """Return what others have in Docker's data, wherever Docker's settings put them."""
    settings = parsed(read_text(configuration)) or {}
    data = Path(str(settings.get("data-root") or DATA_ROOT))
    return on_disk(data, set().union(*(familiar(entry["name"]) for entry in of_kind(manifest, "image"))))


def on_disk(data: Path, ours: Collection[str]) -> Dict[str, List[str]]:
    """Return the containers, images and volumes of others in Docker's data, by what stands for a name there.

    `ours` are the names of our images. What cannot be read is somebody else's.
    """
    containers = [path for path in data.glob("containers/*") if not _is_ours_on_disk(path)]
    repositories = [parsed(read_text(str(path))) or {} for path in data.glob("image/*/repositories.json")]
    names = {name: number for found in repositories for tags in _tags(found) for name, number in tags.items()}
    numbers = {names[name] for name in ours if name in names}
    # Beside its tag, an image has a name with its digest.
    others = [name for name in names if name not in ours and not ("@" in name and names[name] in numbers)]
    return {
        "containers": [plain(path.name, SHORT_ID) for path in containers],
        "images": [plain(name) for name in others],
        "volumes": [plain(path.parent.name) for path in data.glob("volumes/*/_data")],
    }


def _tags(repositories: Dict[str, Any]) -> List[Dict[str, str]]:
    return list((repositories.get("Repositories") or {}).values())


def _is_ours_on_disk(container: Path) -> bool:
    described = parsed(read_text(str(container / "config.v2.json"))) or {}
    return is_ours((described.get("Config") or {}).get("Labels"))


def familiar(image: str) -> Set[str]:
    """Return an image's names as Docker's data spell them: without the registry and folder that go without saying."""
    tagged, at, number = re.sub(r"^(docker\.io/)?(library/)?", "", image).partition("@")
    return {tagged, tagged.rpartition(":")[0] + at + number} if at else {tagged}


def others_containers(docker: DockerSocket) -> List[str]:
    """Return the names of the containers that are not ours, running or not."""
    return [container_name(item) for item in docker.get(ALL_CONTAINERS) or [] if not is_ours(item.get("Labels"))]


def _images_not_ours(docker: DockerSocket, manifest: Manifest) -> List[Dict[str, Any]]:
    recorded = (docker.get(docker_path("image", entry["name"])) for entry in of_kind(manifest, "image"))
    ours = {answer["Id"] for answer in recorded if answer}
    return [item for item in docker.get("/images/json") or [] if item.get("Id") not in ours]


def _is_known(network: Dict[str, Any]) -> bool:
    return network.get("Name") in DOCKERS_NETWORKS or is_ours(network.get("Labels"))


def _image_name(item: Dict[str, Any]) -> str:
    names = (item.get("RepoTags") or []) + (item.get("RepoDigests") or []) + [item.get("Id")]
    return plain(names[0])
