#!/usr/bin/python
"""Ansible module: take away what the manifest of a server lists."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ocore_undo
short_description: Take away what the manifest of a server lists
description:
  - Takes away what C(ocore_manifest) recorded, and puts back what was replaced.
  - What somebody else has changed since, or uses, stays; the notes say why. Docker's data always stays.
  - What is gone already is fine, so that an interrupted cleaning up can be done again.
author: oCore
options:
  kinds:
    description:
      - The kinds to take away, one after the other. They depend on each other in the order of the choices.
      - C(manifest) is the last one; it takes the manifest itself away.
    type: list
    elements: str
    choices: [unit, container, network, image, package, json, file, directory, manifest]
    required: true
  lock_timeout:
    description: How many seconds to wait for apt's lock.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Stop and remove what runs
  ocore_undo:
    kinds: [unit, container, network, image]
"""

RETURN = r"""
removed:
  description: What was taken away, or put back as it was.
  returned: always
  type: list
  elements: str
  sample: ["container ocore-proxy"]
notes:
  description: What stays, and why.
  returned: always
  type: list
  elements: str
  sample: ["package docker.io: others have something in it: containers shop"]
"""

from pathlib import Path
from typing import Collection, List, Set, Tuple

from ansible.module_utils import ocore_apt as apt
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ocore_commands import output
from ansible.module_utils.ocore_docker import DockerSocket, DockerUnavailable
from ansible.module_utils.ocore_manifest import DIRECTORY, MANIFEST, ManifestError, find, key, load, of_kind, put, save
from ansible.module_utils.ocore_present import Present
from ansible.module_utils.ocore_recording import is_dockers, is_our_docker
from ansible.module_utils.ocore_text import plain, read_text
from ansible.module_utils.ocore_undoing import UNDOERS, Undo, UndoError, listed, ordered
from ansible.module_utils.ocore_unpackaging import (
    Choice,
    Installed,
    choose,
    docker_use,
    others_containers,
    purgeable,
)

OPTIONS = {
    "kinds": {"type": "list", "elements": "str", "required": True, "choices": [*UNDOERS, "package", "manifest"]},
    "lock_timeout": {"type": "int", "default": 300},
}
# What was taken away, and what stays and why.
Report = Tuple[List[str], List[str]]

MAX_SUMMARY = 2000
REPAIR_SECONDS = 600
# Stopping a container that is to be removed may take a while.
DOCKER_SECONDS = 60.0
DOCKER_CONFIGURATION = "/etc/docker/daemon.json"
DOCKER_GROUP = "docker"
DOCKER_BRIDGE = "docker0"
DOCKER_DATA = ("/var/lib/docker", "/var/lib/containerd")
# Debian's docker.io, when it is removed, puts this into Docker's data, and deletes the data with it when it is purged.
DATA_WIPER = "/var/lib/docker/nuke-graph-directory.sh"
UNITS = "/etc/systemd/system/"
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",
    "LC_ALL": "C",
}


# --- packages ---------------------------------------------------------------------------------------------------------


def choose_packages(undo: Undo) -> Choice:
    """Return which of the recorded packages go."""
    there = {name for name, state in undo.present.packages.items() if state != "config-files"}
    recorded = [entry for entry in of_kind(undo.manifest, "package") if entry["name"] in there]
    if not recorded:
        return Choice(set(), {})
    use = docker_use(undo.docker, undo.manifest, DOCKER_CONFIGURATION) if any(map(is_dockers, recorded)) else ""
    return choose(undo.manifest, Installed(there, apt.automatic(), apt.recommends()), use, apt.would_remove)


def repair_packages(undo: Undo) -> None:
    """Finish what a run that was killed has left half installed: until then apt refuses to remove anything."""
    if output(["dpkg", "--audit"]).strip():
        output(["dpkg", "--configure", "-a", "--force-confold"], REPAIR_SECONDS)
        output(["apt-get", "--yes", "--no-install-recommends", "--fix-broken", "install"], REPAIR_SECONDS)
        undo.present = Present(undo.docker)


def removed_but_not_purged(undo: Undo) -> Set[str]:
    """Return the recorded packages of which only the configuration files are left, and those may go."""
    recorded = {entry["name"] for entry in of_kind(undo.manifest, "package")}
    names = [name for name in recorded if undo.present.packages.get(name) == "config-files"]
    return purgeable(names, undo.manifest, lambda name: read_text(f"/var/lib/dpkg/info/{name}.postrm"))


def remove_packages(undo: Undo, names: Collection[str], lock_timeout: int) -> None:
    """Remove packages, and then those of their configuration files that may go."""
    command = ["apt-get", "--yes", "--quiet", f"--option=DPkg::Lock::Timeout={lock_timeout}", "--no-auto-remove"]
    if names:
        remember(undo, names)
        undo.run([*command, "remove", *sorted(names)])
        undo.present = Present(undo.docker)
    purged = removed_but_not_purged(undo)
    if "docker.io" in purged:
        Path(DATA_WIPER).unlink(missing_ok=True)
    if purged:
        undo.run([*command, "purge", *sorted(purged)])
        undo.present = Present(undo.docker)


def remember(undo: Undo, names: Collection[str]) -> None:
    """Record what was only guessed to be ours: apt forgets why it has installed a package if it is killed now."""
    manifest = undo.manifest
    for name in sorted(names):
        entry = {"kind": "package", "name": name, "step": "packages", "brought": True}
        manifest = manifest if find(manifest, entry) else put(manifest, entry)
    if manifest != undo.manifest:
        save(manifest)
        undo.manifest = manifest


def undo_packages(undo: Undo, lock_timeout: int) -> Report:
    """Remove the packages that nobody else needs."""
    if not undo.pretend:
        repair_packages(undo)
    choice = choose_packages(undo)
    removed = choice.go | removed_but_not_purged(undo)
    if not undo.pretend:
        remove_packages(undo, choice.go, lock_timeout)
    return [f"package {name}" for name in sorted(removed)], packages_kept(undo, choice)


def packages_kept(undo: Undo, choice: Choice) -> List[str]:
    """Return what stays of the packages, and why."""
    reasons = sorted(set(choice.kept.values()))
    kept = [f"packages {listed([name for name in choice.kept if choice.kept[name] == why])}: {why}" for why in reasons]
    rest = sorted(name for name in choice.go if undo.present.packages.get(name) == "config-files")
    kept += [f"configuration of {name}: it was there before, or Docker's data would go with it" for name in rest]
    if is_our_docker(undo.manifest) and not _any_of_docker(undo, choice.kept):
        kept += left_by_docker()
    return kept


def left_by_docker() -> List[str]:
    """Return what stays of a Docker whose packages go, and why."""
    kept = [f"directory {path}: Docker's data always stays" for path in DOCKER_DATA if Path(path).is_dir()]
    if output(["getent", "group", DOCKER_GROUP]):
        kept.append(f"group {DOCKER_GROUP}: files may belong to it")
    if Path("/sys/class/net", DOCKER_BRIDGE).exists():
        kept.append(f"network device {DOCKER_BRIDGE}, and Docker's firewall rules: until the server is next restarted")
    return kept


def docker_stays(undo: Undo) -> bool:
    """Tell whether the Docker that we installed stays, because others use it or need its packages."""
    return is_our_docker(undo.manifest) and _any_of_docker(undo, choose_packages(undo).kept)


def _any_of_docker(undo: Undo, names: Collection[str]) -> bool:
    return any(is_dockers(entry) for entry in of_kind(undo.manifest, "package") if entry["name"] in names)


# --- everything else --------------------------------------------------------------------------------------------------


def undo_kind(undo: Undo, kind: str) -> Report:
    """Take away what is recorded of one kind, except packages, and let those know who have read it."""
    undo.docker_stays = kind in ("json", "file", "directory") and docker_stays(undo)
    outcomes = [(entry, UNDOERS[kind](entry, undo)) for entry in ordered(of_kind(undo.manifest, kind))]
    changed = [entry for entry, outcome in outcomes if outcome.changed]
    kept = [outcome.kept for _, outcome in outcomes if outcome.kept]
    if any(entry.get("path", "").startswith(UNITS) for entry in changed) and not undo.pretend:
        undo.run(["systemctl", "daemon-reload"])
    if any(entry.get("path") == DOCKER_CONFIGURATION for entry in changed):
        kept += restart_docker(undo)
    return [" ".join(key(entry)) for entry in changed], kept


def restart_docker(undo: Undo) -> List[str]:
    """Let Docker take its own settings again, unless containers run in it: then say that it does not yet."""
    if is_our_docker(undo.manifest):
        return []  # it goes
    try:
        running = others_containers(undo.docker, undo.manifest, "/containers/json")
    except DockerUnavailable:
        return []
    if running:
        return [
            f"Docker's settings in use: containers run ({len(running)}); it takes its own again when it next starts"
        ]
    if not undo.pretend:
        undo.run(["systemctl", "restart", "docker.service"])
    return []


def finish(undo: Undo) -> Report:
    """Remove the manifest, and the directory that was made for it."""
    if undo.pretend or not Path(MANIFEST).exists():
        return [], []
    Path(MANIFEST).unlink()
    if not find(undo.manifest, {"kind": "directory", "path": DIRECTORY}):
        return [f"file {MANIFEST}"], []
    inside = sorted(item.name for item in Path(DIRECTORY).iterdir())
    if inside:
        return [f"file {MANIFEST}"], [f"directory {DIRECTORY}: it is not empty ({listed(inside)})"]
    Path(DIRECTORY).rmdir()
    return [f"file {MANIFEST}", f"directory {DIRECTORY}"], []


# --- the module -------------------------------------------------------------------------------------------------------


def undo_for(module: AnsibleModule) -> Undo:
    """Return what the functions work with; programs that fail end in an UndoError."""

    def run(command: List[str]) -> None:
        code, said, complained = module.run_command(command, environ_update=ENVIRONMENT)
        if code != 0:
            raise UndoError(f"`{' '.join(command[:3])} …` failed: {plain(complained or said)}")

    docker = DockerSocket(timeout=DOCKER_SECONDS)
    return Undo(load(), Present(docker), docker, run, module.check_mode)


def report(undo: Undo, kind: str, lock_timeout: int) -> Report:
    """Take one kind away."""
    if kind == "manifest":
        return finish(undo)
    if kind == "package":
        return undo_packages(undo, lock_timeout)
    return undo_kind(undo, kind)


def summary(removed: List[str], notes: List[str]) -> str:
    """Return the two lists as one text for people."""
    parts = [f"removed: {', '.join(removed) or 'nothing'}", *(f"kept: {note}" for note in notes)]
    return plain("; ".join(parts), MAX_SUMMARY)


def main() -> None:
    """Answer one call."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    removed: List[str] = []
    notes: List[str] = []
    try:
        undo = undo_for(module)
        for kind in module.params["kinds"]:
            gone, kept = report(undo, kind, module.params["lock_timeout"])
            removed += [plain(text) for text in gone]
            notes += [plain(text) for text in kept]
    except ManifestError as error:
        module.fail_json(msg=f"The manifest {MANIFEST} cannot be used: {error}; mend it or move it away.")
    except (UndoError, DockerUnavailable, OSError) as error:
        module.fail_json(msg=plain(f"Taking things away stopped at: {error}"), removed=removed, notes=notes)
    module.exit_json(changed=bool(removed), removed=removed, notes=notes, msg=summary(removed, notes))


if __name__ == "__main__":
    main()
