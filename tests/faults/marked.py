"""A service that runs from a copy of the product: whatever it starts carries the copy's path, and is found by it."""

from __future__ import annotations

import compileall
import contextlib
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api.parts import RINGS
from tests.e2e.served import Served
from tests.hosts.state import CHECKOUT
from tests.integration.apart import PRODUCT, SHARED_MEMORY, is_ours

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.e2e.served import Program

# Finds what runs have at work on a server, by the cookie in its environment.
COOKIES: Final = (
    "grep -lsz '^OCORE_RU[N]=' /proc/[0-9]*/environ | while read f; do tr '\\0' ' ' < ${f%environ}cmdline; echo; done"
)
# Puts a folder in the place of shared memory, which only root may.
_MEMORY: Final = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /dev/shm && exec "$@"')
# What a service keeps at home for good.
_KEPT: Final = ("ocore.db", "queue.db", "migrating.lock", *(f"{ring}-keys.json" for ring in RINGS))


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """A process: when it began, and the words that it was started with."""

    began: int
    pid: int
    words: tuple[str, ...]

    def kill(self) -> None:
        """Kill it without a warning."""
        os.kill(self.pid, signal.SIGKILL)

    @property
    def serves(self) -> bool:
        """Whether it is the service itself."""
        return "serve" in self.words and "ocore" in self.words

    @property
    def is_bubblewrap(self) -> bool:
        """Whether it is bubblewrap, outside or inside."""
        return self.words[0].endswith("bwrap")

    @property
    def is_supervisor(self) -> bool:
        """Whether it holds a run's tree together: bubblewrap, or what obeys our orders in there."""
        return self.is_bubblewrap or "ocore.inside" in self.words

    @property
    def is_ansible(self) -> bool:
        """Whether it is ansible-playbook, or its process for a task."""
        return "ocore.inside.ready" in self.words


def _programs(folder: Path) -> Path:
    """Make a folder for PATH that has what is needed, and no bubblewrap."""
    folder.mkdir()
    for name in ("env", "mount", "setpriv", "sh", "ssh", "unshare"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


class Marked(Served):
    """The service, from a copy; `reduced` where it is to find no namespaces."""

    def __init__(self, folder: Path, storage: Mapping[str, str], *, reduced: bool = False, **settings: Any) -> None:
        self.product = folder / "product"
        self.product.mkdir()
        for name in (*PRODUCT, "api"):
            source = CHECKOUT / name
            if source.is_dir():
                shutil.copytree(source, self.product / name)
            else:
                shutil.copy(source, self.product / name)
        shutil.copy(Path(__file__).parent / "dying.py", self.product / "sitecustomize.py")
        # Once, for nobody writes it later: a service of processes that start anew again and again would begin with it.
        for name in ("ocore", "api"):
            compileall.compile_dir(self.product / name, quiet=2)
        self.temporary, self.memory = folder / "tmp", folder / "memory"
        self.temporary.mkdir()
        self.memory.mkdir()
        self._others = set(SHARED_MEMORY.iterdir())
        super().__init__(folder, storage, **settings)
        self.environment |= {"PYTHONPATH": str(self.product), "TMPDIR": str(self.temporary)}
        if reduced:
            self.environment["PATH"] = str(_programs(folder / "programs"))

    def begin(self, role: str, before: Sequence[str] = ()) -> Program:
        """Start a process for a role, with shared memory of its own: others on this machine use theirs."""
        return super().begin(role, [*before, *([*_MEMORY, str(self.memory)] if os.getuid() == 0 else [])])

    def of_runs(self) -> list[Found]:
        """Return the processes of its runs that live, in the order in which they were started."""
        return sorted(one for one in self._processes() if not one.serves)

    def _processes(self) -> Iterator[Found]:
        marker = str(self.product).encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
                    if words and (marker in words or marker in environment):
                        began = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[19])
                        said = tuple(words.decode(errors="replace").rstrip("\0").split("\0"))
                        yield Found(began, int(entry.name), said)

    def left(self) -> list[str]:
        """Return every file that is left where programs leave files, here and in shared memory."""
        found = [str(path) for path in self.temporary.rglob("*")]
        found += [str(path) for path in self.home.iterdir() if not path.name.startswith(_KEPT)]
        return found + [str(path) for path in self._in_memory()]

    def _in_memory(self) -> list[Path]:
        """Return what is left in shared memory: in its own, or, for who may not have that, in everybody's."""
        if os.getuid() == 0:
            return list(self.memory.iterdir())
        return sorted(path for path in set(SHARED_MEMORY.iterdir()) - self._others if is_ours(path))
