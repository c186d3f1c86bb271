"""Where the playbooks, roles and templates are: in the installed package, or in the checkout."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PACKAGE: Final = Path(__file__).parent
_ROOMS: Final = ("ansible.cfg", "inventory_templates", "playbooks", "roles")


@functools.cache
def root() -> Path:
    """Return the folder that holds `playbooks`, `roles`, `inventory_templates` and `ansible.cfg`."""
    installed = _PACKAGE / "_content"
    return installed if installed.is_dir() else _PACKAGE.parent


def playbook(name: str) -> Path:
    """Return the path of a playbook by its name without ending."""
    return root() / "playbooks" / f"{name}.yml"


def digest(site: str = "") -> str:
    """Return a SHA-256 over everything that a run would execute, the same for a checkout and its wheel.

    Args:
        site: the digest of a site whose steps the run has.

    """
    ours = _own_digest()
    return hashlib.sha256(f"{ours} {site}".encode()).hexdigest() if site else ours


@functools.cache
def _own_digest() -> str:
    return _digest(*(root() / room for room in _ROOMS))


@functools.cache
def role_digests() -> dict[str, str]:
    """Return a SHA-256 for each role by its name: roles have no other version."""
    return {role.name: _digest(role) for role in sorted((root() / "roles").iterdir()) if role.is_dir()}


def _digest(*places: Path) -> str:
    return digest_of((str(file.relative_to(root())), file.read_bytes()) for base in places for file in _files(base))


def _files(base: Path) -> Iterator[Path]:
    for file in sorted(base.rglob("*")) if base.is_dir() else [base]:
        if file.is_file() and "__pycache__" not in file.parts:
            yield file


def digest_of(files: Iterable[tuple[str, bytes]]) -> str:
    """Return a SHA-256 over files: their names, their lengths and what is in them."""
    total = hashlib.sha256()
    for name, data in files:
        total.update(f"{name}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()
