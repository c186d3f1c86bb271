#!/usr/bin/python
"""Ansible module: take away what the manifest of a server lists."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ocore_undo
short_description: Take away what the manifest of a server lists
description:
  - Takes away what C(ocore_manifest) recorded, and puts back what was replaced.
  - What somebody else has changed since, or uses, stays; the notes say why. Docker's data always stays.
  - So does what cannot be looked at, like what is in a Docker that does not answer. A Docker that was installed by us,
    does not run, and has nothing of others in it is started first.
  - Takes away containers with our label, too, of which the manifest does not tell, if there is one.
  - What is gone already is fine, so that an interrupted cleaning up can be done again.
author: oCore
options:
  kinds:
    description:
      - The kinds to take away, one after the other. They depend on each other in the order of the choices.
      - C(manifest) is the last one; it takes the manifest itself away. While something stays that is ours, the manifest
        stays as well, and tells of that and nothing else.
    type: list
    elements: str
    choices: [unit, nftables, container, network, image, package, json, file, swapfile, directory, manifest]
    required: true
  lock_timeout:
    description: How many seconds to wait for apt's lock.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Stop and remove what runs
  ocore_undo:
    kinds: [unit, nftables, container, network, image]
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

import json
from dataclasses import replace
from pathlib import Path
from typing import Collection, List, Set, Tuple
from urllib.parse import quote

from ansible.module_utils import ocore_apt as apt
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ocore_commands import needed_output, output
from ansible.module_utils.ocore_docker import DockerSocket, DockerUnavailable
from ansible.module_utils.ocore_manifest import (
    DIRECTORY,
    MANIFEST,
    Entry,
    ManifestError,
    drop_draft,
    find,
    key,
    load,
    of_kind,
    put,
    save,
)
from ansible.module_utils.ocore_present import Present
from ansible.module_utils.ocore_recording import is_dockers, is_our_docker
from ansible.module_utils.ocore_text import plain
from ansible.module_utils.ocore_undoing import (
    OUR_LABEL,
    OUR_VALUE,
    UNDOERS,
    Undo,
    UndoError,
    container_name,
    listed,
    ordered,
    undone,
)
from ansible.module_utils.ocore_unpackaging import (
    Choice,
    Installed,
    choose,
    data_use,
    docker_use,
    others_containers,
    postrm_of,
    purgeable,
)

OPTIONS = {
    "kinds": {"type": "list", "elements": "str", "required": True, "choices": [*UNDOERS, "package", "manifest"]},
    "lock_timeout": {"type": "int", "default": 300},
}
# The first kind of what only a running Docker lets go. The units went before: they would start together with Docker.
FIRST_IN_DOCKER = "container"
# What was taken away, and what stays and why.
Report = Tuple[List[str], List[str]]

MAX_SUMMARY = 2000
LEFT_TO_DNF = "here oCore leaves packages where they are; `dnf remove` tells who else needs them"
START_SECONDS = 60
# Stopping a container that is to be removed may take a while.
DOCKER_SECONDS = 60.0
DOCKER_UNIT = "docker.service"
OUR_CONTAINERS = "/containers/json?all=1&filters=" + quote(json.dumps({"label": [f"{OUR_LABEL}={OUR_VALUE}"]}))
DOCKER_CONFIGURATION = "/etc/docker/daemon.json"
JAIL = "/etc/fail2ban/jail.d/ocore.local"
JAIL_UNIT = "fail2ban.service"
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


def apt_get(lock_timeout: int, *words: str) -> List[str]:
    """Return a command of apt's that asks nothing, keeps configuration files, and waits for the lock for a while."""
    return [
        "apt-get",
        *words[:1],
        "--yes",
        "--quiet",
        f"--option=DPkg::Lock::Timeout={lock_timeout}",
        "--option=Dpkg::Options::=--force-confdef",
        "--option=Dpkg::Options::=--force-confold",
        *words[1:],
    ]


def choose_packages(undo: Undo) -> Choice:
    """Return which of the recorded packages go."""
    there = {name for name, state in undo.present.packages.items() if state != "config-files"}
    recorded = [entry for entry in of_kind(undo.manifest, "package") if entry["name"] in there]
    if not recorded:
        return Choice(set(), {})
    if not undo.present.has_apt():
        return Choice(set(), {entry["name"]: LEFT_TO_DNF for entry in recorded})
    use = use_of_docker(undo) if any(map(is_dockers, recorded)) else ""
    installed = Installed(there, apt.automatic(), apt.recommends(), apt.depends())
    return choose(undo.manifest, installed, use, apt.would_remove)


def use_of_docker(undo: Undo) -> str:
    """Return who else uses Docker; nothing where nobody does."""
    return docker_use(undo.docker, undo.manifest, DOCKER_CONFIGURATION, runs=docker_unit() == "active")


def repair_packages(undo: Undo, lock_timeout: int) -> List[str]:
    """Finish what a run that was killed has left half installed: until then apt refuses to remove anything.

    Returns what went wrong; apt says of no package then that it could go, and all of them stay.
    """
    if not undo.present.has_apt() or not needed_output(["dpkg", "--audit"]).strip():
        return []
    repair = apt_get(lock_timeout, "install", "--fix-broken", "--no-remove", "--no-install-recommends")
    try:
        # The second brings what the first finds missing.
        for command in (["dpkg", "--configure", "-a", "--force-confdef", "--force-confold"], repair):
            error = failure(undo, command)
    finally:
        undo.present = Present(undo.docker)
    return [f"packages that are half installed: {error}"] if error else []


def failure(undo: Undo, command: List[str]) -> str:
    """Run a command and return why it failed; nothing where it did not."""
    try:
        undo.run(command)
    except UndoError as error:
        return str(error)
    return ""


def removed_but_not_purged(undo: Undo) -> Set[str]:
    """Return the recorded packages of which only the configuration files are left, and those may go."""
    recorded = {entry["name"] for entry in of_kind(undo.manifest, "package")}
    names = [name for name in recorded if undo.present.packages.get(name) == "config-files"]
    return purgeable(names, undo.manifest, postrm_of)


def remove_packages(undo: Undo, names: Collection[str], lock_timeout: int) -> None:
    """Remove packages, and then those of their configuration files that may go."""
    if names:
        remember(undo, names)
        undo.run(apt_get(lock_timeout, "remove", "--no-auto-remove", *sorted(names)))
        undo.present = Present(undo.docker)
    purged = removed_but_not_purged(undo)
    if "docker.io" in purged:
        Path(DATA_WIPER).unlink(missing_ok=True)
    if purged:
        undo.run(apt_get(lock_timeout, "purge", "--no-auto-remove", *sorted(purged)))
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
    if not of_kind(undo.manifest, "package"):
        return [], []
    wrong = [] if undo.pretend else repair_packages(undo, lock_timeout)
    choice = choose_packages(undo)
    removed = choice.go | removed_but_not_purged(undo)
    if not undo.pretend:
        remove_packages(undo, choice.go, lock_timeout)
    return [f"package {name}" for name in sorted(removed)], wrong + packages_kept(undo, choice)


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


# --- Docker -----------------------------------------------------------------------------------------------------------


def docker_unit() -> str:
    """Return whether Docker runs, in systemd's word: `active`, `inactive`, `failed` or another."""
    return needed_output(["systemctl", "show", "--property=ActiveState", "--value", "--", DOCKER_UNIT]).strip()


def wake_docker(undo: Undo) -> List[str]:
    """Start a Docker that we installed, that does not run, and in which nobody else has anything.

    Only a Docker that runs can let its containers and images go. One in which others have something is not started:
    their containers would start with it.
    """
    if undo.pretend or not is_our_docker(undo.manifest) or not undo.present.has_docker():
        return []
    if docker_unit() not in ("inactive", "failed") or any(data_use(undo.manifest, DOCKER_CONFIGURATION).values()):
        return []
    error = failure(undo, ["timeout", str(START_SECONDS), "systemctl", "start", DOCKER_UNIT])
    return [f"what is in Docker: it did not run, and could not be started: {error}"] if error else []


def left_containers(undo: Undo) -> List[Entry]:
    """Return the containers with our label that no entry is about: what an interrupted run tried something with."""
    if not undo.manifest["entries"]:
        return []
    try:
        names = [container_name(item) for item in undo.docker.get(OUR_CONTAINERS) or []]
    except DockerUnavailable:
        return []  # where it matters, an entry says so
    entries = [{"kind": "container", "name": name, "step": "verify"} for name in sorted(names)]
    return [entry for entry in entries if not find(undo.manifest, entry)]


# --- everything else --------------------------------------------------------------------------------------------------


def undo_kind(undo: Undo, kind: str) -> Report:
    """Take away what is recorded of one kind, except packages, and let those know who have read it."""
    undo.docker_stays = kind in ("json", "file", "directory") and docker_stays(undo)
    entries = ordered(of_kind(undo.manifest, kind)) + (left_containers(undo) if kind == "container" else [])
    outcomes = [(entry, undone(entry, undo)) for entry in entries]
    changed = [entry for entry, outcome in outcomes if outcome.changed]
    kept = [outcome.kept for _, outcome in outcomes if outcome.kept]
    if any(entry.get("path", "").startswith(UNITS) for entry in changed) and not undo.pretend:
        undo.run(["systemctl", "daemon-reload"])
    if any(entry.get("path") == DOCKER_CONFIGURATION for entry in changed):
        kept += restart_docker(undo)
    if any(entry.get("path") == JAIL for entry in changed):
        kept += restart_jail(undo)
    return [" ".join(key(entry)) for entry in changed], kept


def restart_docker(undo: Undo) -> List[str]:
    """Let Docker take its own settings again, unless it has containers: then say that it does not yet.

    Those that run would be stopped, and some of those that somebody has stopped would be started.
    """
    if is_our_docker(undo.manifest):
        return []  # it goes
    try:
        containers = others_containers(undo.docker)
    except DockerUnavailable:
        return []
    if containers:
        has = f"it has containers ({len(containers)})"
        return [f"Docker's settings in use: {has}; it takes its own again when it next starts"]
    if not undo.pretend:
        undo.run(["systemctl", "restart", DOCKER_UNIT])
    return []


def restart_jail(undo: Undo) -> List[str]:
    """Let a fail2ban that stays go on without our jail; one that does not run reads its settings when it starts."""
    if undo.pretend or not undo.present.unit_file(JAIL_UNIT):
        return []
    error = failure(undo, ["systemctl", "try-restart", "--", JAIL_UNIT])
    return [f"fail2ban's settings in use: {error}; it goes by its own again when it next starts"] if error else []


def finish(undo: Undo) -> Report:
    """Remove the manifest and the directory that was made for it, unless something is left that it has to tell of."""
    if undo.pretend or not Path(MANIFEST).exists():
        return [], []
    left = what_is_left(undo)
    directory = find(undo.manifest, {"kind": "directory", "path": DIRECTORY})
    if left:
        reduce_manifest(undo, left + ([directory] if directory else []))
        return [], [f"file {MANIFEST}: it tells what is left ({len(left)}); clean up again when that may go"]
    drop_draft(MANIFEST)
    Path(MANIFEST).unlink()
    if not directory:
        return [f"file {MANIFEST}"], []
    inside = sorted(item.name for item in Path(DIRECTORY).iterdir())
    if inside:
        return [f"file {MANIFEST}"], [f"directory {DIRECTORY}: it is not empty ({listed(inside)})"]
    Path(DIRECTORY).rmdir()
    return [f"file {MANIFEST}", f"directory {DIRECTORY}"], []


def what_is_left(undo: Undo) -> List[Entry]:
    """Return the entries of which something is still there, and ours: undoing them again would find it."""
    look = replace(undo, pretend=True, docker_stays=docker_stays(undo))
    to_purge = removed_but_not_purged(undo)

    def is_left(entry: Entry) -> bool:
        if entry["kind"] == "package":
            state = undo.present.packages.get(entry["name"], "config-files")
            return state != "config-files" or entry["name"] in to_purge
        outcome = undone(entry, look)
        return (outcome.changed or bool(outcome.kept)) and not outcome.given_up

    return [entry for entry in undo.manifest["entries"] if is_left(entry)]


def reduce_manifest(undo: Undo, entries: List[Entry]) -> None:
    """Let the manifest tell of these entries only. Without packages it does not matter which were there before."""
    manifest = dict(undo.manifest, entries=entries)
    if not of_kind(manifest, "package"):
        manifest["packages_before"] = None
    save(manifest)


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
    notes = wake_docker(undo) if kind == FIRST_IN_DOCKER else []
    removed, kept = undo_kind(undo, kind)
    return removed, notes + kept


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
