"""Taking away what the manifest lists, entry by entry, except packages (those are in `ocore_unpackaging`).

Each function looks at the thing as it is now before it touches it: what is gone already is fine, what somebody else
has changed or uses stays, and the reason is returned. What cannot be looked at stays as well. In check mode nothing is
touched.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional
from urllib.parse import quote

from ansible.module_utils.ocore_docker import DockerUnavailable
from ansible.module_utils.ocore_manifest import DIRECTORY, Entry, Manifest, drop_draft, key, of_kind, write_atomically
from ansible.module_utils.ocore_objects import merged
from ansible.module_utils.ocore_present import Present, file_state
from ansible.module_utils.ocore_recording import is_dockers, parsed
from ansible.module_utils.ocore_text import plain, read_text

if TYPE_CHECKING:
    from ansible.module_utils.ocore_docker import DockerSocket

OUR_LABEL, OUR_VALUE = "sh.ocore.managed", "true"
ALL_CONTAINERS = "/containers/json?all=1"
MAX_NAMES = 5
SWAPS = "/proc/swaps"
# It takes back rules of which a run that died has not known whether they let us in: by loading those of before.
GUARD = "ocore-firewall-guard.timer"


class UndoError(Exception):
    """Something that should go does not; the text says what happened."""


class Outcome(NamedTuple):
    """What became of an entry: whether the server was changed, and if something is still there, why.

    What is not ours any more, or never was, is given up: cleaning up again will not look at it.
    """

    changed: bool = False
    kept: str = ""
    given_up: bool = False


GONE = Outcome()
REMOVED = Outcome(changed=True)


@dataclass
class Undo:
    """What the functions of this module work with."""

    manifest: Manifest
    present: Present
    docker: DockerSocket
    run: Callable[[List[str]], None]
    pretend: bool = False
    docker_stays: bool = False

    def stays_with_docker(self, entry: Entry) -> bool:
        """Tell whether an entry is part of a Docker that we installed and that others use by now."""
        return self.docker_stays and is_dockers(entry)

    def delete(self, path: str) -> str:
        """Delete something in Docker; return what Docker has against it."""
        if self.pretend:
            return ""
        status, answer = self.docker.delete(path)
        if status < 400 or status == 404:  # noqa: PLR2004 - HTTP's own numbers
            return ""
        return str(answer.get("message", status)) if isinstance(answer, dict) else f"status {status}"


def listed(names: List[str]) -> str:
    """Return names as part of a sentence, not too many of them."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def undone(entry: Entry, undo: Undo) -> Outcome:
    """Undo an entry; where that cannot be done it stays, and the others do not have to wait for it."""
    try:
        return UNDOERS[entry["kind"]](entry, undo)
    except (DockerUnavailable, OSError, UndoError) as error:
        return Outcome(kept=f"{' '.join(key(entry))}: {error}")


# --- what runs --------------------------------------------------------------------------------------------------------


def unit(entry: Entry, undo: Undo) -> Outcome:
    """Stop and disable a unit whose file is ours; one that came with a package goes with the package."""
    ours = [file["path"] for file in of_kind(undo.manifest, "file")]
    if undo.present.unit_file(entry["name"]) not in ours:
        return GONE
    if not undo.pretend:
        undo.run(["systemctl", "disable", "--now", "--", entry["name"]])
    return REMOVED


def nftables(entry: Entry, undo: Undo) -> Outcome:
    """Take a table of ours out of the kernel, which has it without its unit, too, where a run died in between."""
    if not undo.pretend and undo.present.unit_file(GUARD):
        undo.run(["systemctl", "stop", "--", GUARD])
    if not undo.present.has_table(entry["name"]):
        return GONE
    if not undo.pretend:
        undo.run(["nft", "delete", "table", *entry["name"].split()])
    return REMOVED


def is_ours(labels: Any) -> bool:
    """Tell from the labels of a container or a network whether oCore has made it."""
    return isinstance(labels, dict) and labels.get(OUR_LABEL) == OUR_VALUE


def container(entry: Entry, undo: Undo) -> Outcome:
    """Remove a container that carries our label."""
    name = entry["name"]
    found = undo.present.in_docker("container", name)
    if found is None:
        return GONE
    if not is_ours(found.get("Config", {}).get("Labels")):
        return Outcome(
            kept=f"container {name}: it is not the one that was put here (it lacks our label)", given_up=True
        )
    refusal = undo.delete(f"/containers/{quote(found['Id'])}?force=1")
    return Outcome(kept=f"container {name}: {refusal}") if refusal else REMOVED


def network(entry: Entry, undo: Undo) -> Outcome:
    """Remove a network that carries our label, unless containers of others belong to it, running or not."""
    name = entry["name"]
    found = undo.present.in_docker("network", name)
    if found is None:
        return GONE
    if not is_ours(found.get("Labels")):
        return Outcome(kept=f"network {name}: it is not the one that was put here (it lacks our label)", given_up=True)
    containers = undo.docker.get(ALL_CONTAINERS) or []
    others = [container_name(item) for item in containers if not is_ours(item.get("Labels")) and _is_in(item, found)]
    if others:
        return Outcome(kept=f"network {name}: containers of others are in it ({listed(sorted(others))})")
    refusal = undo.delete(f"/networks/{quote(found['Id'])}")
    return Outcome(kept=f"network {name}: {refusal}") if refusal else REMOVED


def _is_in(item: Dict[str, Any], found: Dict[str, Any]) -> bool:
    """Tell whether a container belongs to a network; one that does not run knows it by its name only."""
    networks = (item.get("NetworkSettings") or {}).get("Networks") or {}
    return found.get("Name") in networks or any(
        (item or {}).get("NetworkID") == found["Id"] for item in networks.values()
    )


def container_name(item: Dict[str, Any]) -> str:
    """Return the name of a container in one of Docker's lists."""
    return plain(str((item.get("Names") or [item.get("Id")])[0] or "").lstrip("/"))


def image(entry: Entry, undo: Undo) -> Outcome:
    """Remove an image, unless containers of others use it: Docker itself refuses then."""
    name = entry["name"]
    if undo.present.in_docker("image", name) is None:
        return GONE
    refusal = undo.delete(f"/images/{quote(name, safe='/:@')}")
    return Outcome(kept=f"image {name}: {refusal}") if refusal else REMOVED


# --- files ------------------------------------------------------------------------------------------------------------


def file(entry: Entry, undo: Undo) -> Outcome:
    """Remove a file, or put back what was in its place, unless somebody has changed it since."""
    path, original = entry["path"], entry["original"]
    if not undo.pretend:
        drop_draft(path)
    found = file_state(path)
    if found is None or (original is not None and found["content"] == base64.b64decode(original["content"])):
        return GONE
    # Of a file without digests (one that was fetched) it is only known that it is a file.
    if found["digest"] is None or (entry["digests"] and found["digest"] not in entry["digests"]):
        return Outcome(kept=f"file {path}: it was changed after it was put here")
    if undo.stays_with_docker(entry):
        return Outcome(kept=f"file {path}: it belongs to Docker, which stays")
    if undo.pretend:
        return REMOVED
    if _still_runs(path, undo):
        return Outcome(kept=f"file {path}: its unit still runs")
    if original is None:
        Path(path).unlink()
    else:
        content, owner = base64.b64decode(original["content"]), (original["uid"], original["gid"])
        write_atomically(path, content, original["mode"], owner)
    return REMOVED


def _still_runs(path: str, undo: Undo) -> bool:
    """Tell whether a file is that of a unit of ours that could not be stopped: without it, it never will be."""
    names = [entry["name"] for entry in of_kind(undo.manifest, "unit") if entry["name"] == Path(path).name]
    return any(undo.present.unit_file(name) == path and undo.present.is_active(name) for name in names)


def json_file(entry: Entry, undo: Undo) -> Outcome:
    """Take our keys out of a JSON file that others use as well."""
    path = entry["path"]
    if not undo.pretend:
        drop_draft(path)
    found = file_state(path)
    if found is None:
        return GONE
    if undo.stays_with_docker(entry):
        return Outcome(kept=f"file {path}: it belongs to Docker, which stays")
    if found["content"] is None:
        return Outcome(kept=f"file {path}: it is no regular file, or has grown too large to be ours")
    text = found["content"].decode("utf-8", errors="replace")
    after = text_without(text, entry)
    if after is None:
        return Outcome(kept=f"file {path}: it is no JSON any more")
    if after != text and not undo.pretend:
        if after:
            write_atomically(path, after.encode(), found["mode"], (found["uid"], found["gid"]))
        else:
            Path(path).unlink()
    foreign = changed_keys(parsed(text) or {}, entry["contains"], parsed(entry["original"] or "") or {})
    kept = f"file {path}: {listed(foreign)} was set to something else after it was put here" if foreign else ""
    # What others have set is theirs: were the keys still ours, a later cleaning up might take them away.
    return Outcome(changed=after != text, kept=kept, given_up=bool(foreign))


def text_without(text: str, entry: Entry) -> Optional[str]:
    """Return a JSON file's text without our keys; nothing where no key is left in a file that was not there before.

    None where the text is no JSON. Where nothing else has been changed since, it is what it was, to the letter.
    """
    value, original = parsed(text), entry["original"]
    if value is None:
        return None
    before = parsed(original or "") or {}
    if original is not None and merged(before, entry["contains"]) == value:
        return str(original)
    after = without(value, entry["contains"], before)
    if after == value:
        return text
    if not after and original is None:
        return ""
    return json.dumps(after, indent=2, ensure_ascii=False) + "\n"


def without(value: Dict[str, Any], ours: Dict[str, Any], before: Dict[str, Any]) -> Dict[str, Any]:
    """Return an object in which each key that still has our value has the one of before again, or is gone."""
    result = dict(value)
    for name, wanted in ours.items():
        now, old = value.get(name), before.get(name)
        if isinstance(wanted, dict) and isinstance(now, dict):
            now = without(now, wanted, old if isinstance(old, dict) else {})
            result[name] = now
            if not now and name not in before:
                del result[name]
        elif name in value and now == wanted:
            result[name] = old
            if name not in before:
                del result[name]
    return result


def changed_keys(value: Dict[str, Any], ours: Dict[str, Any], before: Dict[str, Any], prefix: str = "") -> List[str]:
    """Return our keys that somebody has set to something that is neither ours nor what was there before."""
    found = []
    for name, wanted in ours.items():
        now, old = value.get(name), before.get(name)
        if name not in value or now in (wanted, old):
            continue
        if isinstance(wanted, dict) and isinstance(now, dict):
            found += changed_keys(now, wanted, old if isinstance(old, dict) else {}, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def swapfile(entry: Entry, undo: Undo) -> Outcome:
    """Remove a swap file; its unit went before, and has turned it off."""
    path = Path(entry["path"])
    if not undo.pretend:
        drop_draft(entry["path"])
    if not path.is_file() or path.is_symlink():
        return GONE
    if str(path) in [line.split()[0] for line in read_text(SWAPS).splitlines() if line]:
        return Outcome(kept=f"swap file {path}: it is in use; `swapoff {path}` needs enough free memory")
    if not undo.pretend:
        path.unlink()
    return REMOVED


def directory(entry: Entry, undo: Undo) -> Outcome:
    """Remove a directory that is empty."""
    path = Path(entry["path"])
    if path == Path(DIRECTORY) or not path.is_dir() or path.is_symlink():
        return GONE
    if undo.stays_with_docker(entry):
        return Outcome(kept=f"directory {path}: it belongs to Docker, which stays")
    inside = sorted(item.name for item in path.iterdir())
    if undo.pretend:
        recorded = {item.get("path") for item in undo.manifest["entries"]}
        inside = [name for name in inside if str(path / name) not in recorded]
    if inside:
        return Outcome(kept=f"directory {path}: it is not empty ({listed(inside)})")
    if not undo.pretend:
        path.rmdir()
    return REMOVED


UNDOERS: Dict[str, Callable[[Entry, Undo], Outcome]] = {
    "unit": unit,
    "nftables": nftables,
    "container": container,
    "network": network,
    "image": image,
    "json": json_file,
    "file": file,
    "swapfile": swapfile,
    "directory": directory,
}


def ordered(entries: List[Entry]) -> List[Entry]:
    """Return the entries in the order in which they go: what is in a directory before the directory."""
    return sorted(entries, key=lambda entry: str(entry.get("path", "")), reverse=True)
