"""A process and everything below it, remembered, so that it can be asked later what of it still lives."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def _processes() -> Iterator[tuple[int, int, str, str]]:
    """Yield of each process of this machine: its id, its parent's, when it began, and its namespace for ids."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                # One that has ended and was not asked for yet does nothing any more.
                if fields[0] not in "ZX":
                    yield int(entry.name), int(fields[1]), fields[19], (entry / "ns" / "pid").readlink().name


class Tree:
    """The descendants of a process as they are now, without itself."""

    def __init__(self, root: int) -> None:
        found = list(_processes())
        own = Path("/proc/self/ns/pid").readlink().name
        below = {root}
        while more := {pid for pid, parent, _, _ in found if parent in below} - below:
            below |= more
        self._members = {(pid, began) for pid, _, began, _ in found if pid in below - {root}}
        # Whoever is in a namespace of theirs is one of them, also if it came later.
        self._namespaces = {namespace for pid, _, _, namespace in found if pid in below} - {own}

    def __len__(self) -> int:
        """Return how many there were."""
        return len(self._members)

    def members(self) -> set[int]:
        """Return those of them that live, without such as came later: a namespace's number is given to others again."""
        return {pid for pid, _, began, _ in _processes() if (pid, began) in self._members}

    def alive(self) -> set[int]:
        """Return those that live."""
        return {
            pid
            for pid, _, began, namespace in _processes()
            if (pid, began) in self._members or namespace in self._namespaces
        }
