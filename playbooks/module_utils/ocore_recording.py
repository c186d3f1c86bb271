"""What goes into the manifest before a step changes something: what is not there yet, or is about to be replaced.

What is there already, as it is wanted, belongs to somebody else and is not recorded: cleaning up leaves it alone.
Each kind has a function that returns the entry to record, or None; it gets what is wanted, the entry of an earlier run
if there is one, and a reader of what is there now.
"""

from __future__ import annotations

import base64
from typing import Any, Callable, Dict, Iterable, List, Optional

from ansible.module_utils.ocore_manifest import Entry, Manifest, find, of_kind, put
from ansible.module_utils.ocore_objects import merged, parse
from ansible.module_utils.ocore_present import Present, digest, file_state

Want = Dict[str, Any]
Recorder = Callable[[Want, Optional[Entry], Present], Optional[Entry]]

DOCKER_STEP = "docker"
ENGINES = ("docker-ce", "docker.io", "docker")
# What Docker makes when it runs, and no package owns.
DOCKER_DIRECTORIES = ("/etc/cni", "/etc/cni/net.d")
# How many contents of a file are remembered as ours.
MAX_DIGESTS = 20


def record(manifest: Manifest, step: str, wants: Iterable[Want], present: Present) -> Manifest:
    """Return the manifest with what has to be known before a step does what it wants."""
    for want in wants:
        manifest = _recorded(manifest, step, want, present)
    manifest = _with_what_they_bring(manifest, step, present)
    if step == DOCKER_STEP and is_our_docker(manifest):
        for path in DOCKER_DIRECTORIES:
            manifest = _recorded(manifest, step, {"kind": "directory", "path": path}, present)
    if manifest["packages_before"] is None and of_kind(manifest, "package"):
        manifest = dict(manifest, packages_before=_packages_before(present.packages))
    return manifest


def _recorded(manifest: Manifest, step: str, want: Want, present: Present) -> Manifest:
    recorder = RECORDERS.get(want["kind"])
    entry = recorder(want, find(manifest, want), present) if recorder else None
    if entry is None and want["kind"] == "image" and is_our_docker(manifest):
        # No image can have been there before us in a Docker that was not: whoever loaded it meant it for us.
        entry = _named(want)
    return manifest if entry is None else put(manifest, dict(entry, step=entry.get("step", step)))


def _with_what_they_bring(manifest: Manifest, step: str, present: Present) -> Manifest:
    """Return the manifest with the packages that will come along with those which are not installed yet.

    apt itself remembers why it has installed a package, but not when it is killed while it does. Where it cannot tell
    (its lists may not have been read yet), it is asked again the next time.
    """
    names = {entry["name"] for entry in of_kind(manifest, "package") if _is_to_come(entry, present)}
    bring = present.would_install(names) if names else set()
    for entry in of_kind(manifest, "package"):
        if entry["name"] in names:
            manifest = put(manifest, dict(entry, told=entry["name"] in bring))
    for name in sorted(bring - names):
        manifest = _recorded(manifest, step, {"kind": "package", "name": name, "brought": True}, present)
    return manifest


def _is_to_come(entry: Entry, present: Present) -> bool:
    there = present.packages.get(entry["name"], "config-files") != "config-files"
    return not (there or entry.get("told") or entry.get("brought"))


def is_our_docker(manifest: Manifest) -> bool:
    """Tell whether Docker was installed by us."""
    return any(entry["name"] in ENGINES for entry in of_kind(manifest, "package"))


def is_dockers(entry: Entry) -> bool:
    """Tell whether an entry is part of Docker, or of what it works with."""
    return bool(entry["step"] == DOCKER_STEP)


def _packages_before(states: Dict[str, str]) -> Dict[str, List[str]]:
    """Return the packages that were there before the first of ours: so what ours bring with them can be told apart."""
    return {
        "installed": sorted(name for name, state in states.items() if state != "config-files"),
        "config_files": sorted(name for name, state in states.items() if state == "config-files"),
    }


def _named(want: Want) -> Entry:
    return {"kind": want["kind"], "name": want["name"]}


def _package(want: Want, known: Optional[Entry], present: Present) -> Optional[Entry]:
    there = present.packages.get(want["name"], "config-files") != "config-files"
    if known or there:
        return known
    return dict(_named(want), brought=True) if want.get("brought") else _named(want)


def _unit(want: Want, known: Optional[Entry], present: Present) -> Optional[Entry]:
    return known or (None if present.unit_file(want["name"]) else _named(want))


def _nftables(want: Want, known: Optional[Entry], _present: Present) -> Optional[Entry]:
    """Record a table that is there, too: by its name it is ours, and an interrupted run may have loaded it."""
    return known or _named(want)


def _in_docker(want: Want, known: Optional[Entry], present: Present) -> Optional[Entry]:
    return known or (None if present.in_docker(want["kind"], want["name"]) else _named(want))


def _directory(want: Want, known: Optional[Entry], _present: Present) -> Optional[Entry]:
    return known or (None if file_state(want["path"]) else {"kind": "directory", "path": want["path"]})


def _swapfile(want: Want, known: Optional[Entry], _present: Present) -> Optional[Entry]:
    return known or (None if file_state(want["path"]) else {"kind": "swapfile", "path": want["path"]})


def _file(want: Want, known: Optional[Entry], _present: Present) -> Optional[Entry]:
    """Record what we are about to write, and what is in its place now unless that is from us.

    A file whose content is not known beforehand (one that is fetched) has no digests: whatever is there is ours then.
    """
    known_digest = digest(str(want["content"]).encode()) if "content" in want else want.get("sha256")
    wanted = [known_digest] if known_digest else []
    if known is not None:
        # What lies there may be from any earlier run: this one may die before it writes.
        new = [item for item in wanted if item not in known["digests"]]
        return dict(known, digests=[*known["digests"], *new][-MAX_DIGESTS:])
    entry = {"kind": "file", "path": want["path"], "digests": wanted, "original": None}
    found = file_state(want["path"])
    if found is None:
        return entry
    if found["digest"] in wanted or found["content"] is None:
        return None
    original = {name: found[name] for name in ("uid", "gid", "mode")}
    return dict(entry, original=dict(original, content=base64.b64encode(found["content"]).decode()))


def _json(want: Want, known: Optional[Entry], _present: Present) -> Optional[Entry]:
    """Record the keys that we are about to set, and the file's text before that."""
    if known is not None:
        return dict(known, contains=merged(known["contains"], want["contains"]))
    entry = {"kind": "json", "path": want["path"], "contains": want["contains"], "original": None}
    found = file_state(want["path"])
    if found is None:
        return entry
    if found["content"] is None:
        return None
    text = found["content"].decode("utf-8", errors="replace")
    value = parsed(text)
    if value is not None and merged(value, want["contains"]) == value:
        return None
    return dict(entry, original=text)


def parsed(text: str) -> Optional[Dict[str, Any]]:
    """Return the JSON object that a text is; None where it is none."""
    try:
        return parse(text)
    except ValueError:
        return None


RECORDERS: Dict[str, Recorder] = {
    "package": _package,
    "file": _file,
    "json": _json,
    "directory": _directory,
    "swapfile": _swapfile,
    "unit": _unit,
    "nftables": _nftables,
    "network": _in_docker,
    "container": _in_docker,
    "image": _in_docker,
}
