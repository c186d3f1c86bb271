"""Where the playbooks, roles and templates are: in the installed package, or in the checkout."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Final

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


@functools.cache
def digest() -> str:
    """Return a SHA-256 over everything that a run would execute, the same for a checkout and its wheel."""
    return _digest(*(root() / room for room in _ROOMS))


@functools.cache
def role_digests() -> dict[str, str]:
    """Return a SHA-256 for each role by its name: roles have no other version."""
    return {role.name: _digest(role) for role in sorted((root() / "roles").iterdir()) if role.is_dir()}


def _digest(*places: Path) -> str:
    total = hashlib.sha256()
    for base in places:
        files = sorted(base.rglob("*")) if base.is_dir() else [base]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                total.update(f"{file.relative_to(root())}\0{file.stat().st_size}\0".encode())
                total.update(file.read_bytes())
    return total.hexdigest()
