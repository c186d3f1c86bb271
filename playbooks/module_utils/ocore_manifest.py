"""The manifest: what oCore put on a server, and what was in its place before.

It lies on the server itself and is written before each change, so that a run that dies in between leaves nothing
behind of which nobody knows. An entry is a dictionary with a `kind`, a `name` or a `path`, the `step` that wanted it,
and what its kind adds (see `ocore_recording`).
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from ansible.module_utils.ocore_text import read_bytes

DIRECTORY = "/var/lib/ocore"
MANIFEST = DIRECTORY + "/manifest.json"
VERSION = 1
MAX_BYTES = 8 * 1024 * 1024
# Added to a file's name: where a new content is written before it takes the file's place.
DRAFT = ".ocore-part"
# Kinds whose path is where they come from, and not what they are.
BY_NAME = ("unit", "nftables")

Entry = Dict[str, Any]
Manifest = Dict[str, Any]


class ManifestError(Exception):
    """The manifest is there and cannot be used; the text says why."""


def empty() -> Manifest:
    """Return the manifest of a server on which nothing was done yet."""
    return {"version": VERSION, "packages_before": None, "entries": []}


def key(item: Dict[str, Any]) -> Tuple[str, str]:
    """Return what makes an entry, or what is wanted, the one and not another."""
    by_path = "path" in item and item["kind"] not in BY_NAME
    return str(item["kind"]), str(item["path"] if by_path else item["name"])


def find(manifest: Manifest, item: Dict[str, Any]) -> Optional[Entry]:
    """Return the entry about the same thing; None where there is none."""
    return next((entry for entry in manifest["entries"] if key(entry) == key(item)), None)


def of_kind(manifest: Manifest, kind: str) -> List[Entry]:
    """Return the entries of one kind, in the order in which they were recorded."""
    return [entry for entry in manifest["entries"] if entry["kind"] == kind]


def put(manifest: Manifest, entry: Entry) -> Manifest:
    """Return a manifest that holds the entry, in place of an older one about the same thing."""
    entries = list(manifest["entries"])
    older = find(manifest, entry)
    if older is None:
        entries.append(entry)
    else:
        entries[entries.index(older)] = entry
    return dict(manifest, entries=entries)


def parse(content: bytes) -> Manifest:
    """Return the manifest of a file's content; raises ManifestError."""
    if len(content) > MAX_BYTES:
        raise ManifestError(f"it is longer than {MAX_BYTES} bytes")
    try:
        manifest = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ManifestError("it is no JSON") from error
    if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
        raise ManifestError("it is not a manifest that this version of oCore knows")
    if not isinstance(manifest.get("entries"), list) or not all(map(_usable, manifest["entries"])):
        raise ManifestError("its entries cannot be read")
    return dict(empty(), **manifest)


def _usable(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("kind"), str) and ("path" in entry or "name" in entry)


def load(path: str = MANIFEST) -> Manifest:
    """Read the manifest; an empty one where there is no file. Raises ManifestError, or OSError."""
    try:
        return parse(read_bytes(path, MAX_BYTES + 1))
    except FileNotFoundError:
        return empty()


def save(manifest: Manifest, path: str = MANIFEST) -> None:
    """Write the manifest so that it survives a crash: either the old one is there afterwards or the whole new one."""
    content = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    write_atomically(path, content.encode(), 0o600)
    directory = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_atomically(path: str, content: bytes, mode: int, owner: Optional[Tuple[int, int]] = None) -> None:
    """Replace a file in one go; `owner` is the numbers of user and group."""
    part = path + DRAFT
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if owner is not None:
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    Path(part).replace(path)


def drop_draft(path: str) -> None:
    """Remove what an interrupted `write_atomically` has left of a file's new content."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        Path(path + DRAFT).unlink()
