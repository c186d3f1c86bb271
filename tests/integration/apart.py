"""oCore as a program of its own: a copy at a path that marks every process and file which belongs to it.

Everything that a run starts carries that path in its environment or its command line, with namespaces and without:
so a test finds what is left of its own run, and nothing of anybody else's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from tests.hosts.state import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PRODUCT = ("ansible.cfg", "inventory_templates", "ocore", "playbooks", "roles")
DRIVER = Path(__file__).parent / "driver.py"
# What the library itself calls, for a PATH that has no bubblewrap.
PROGRAMS = ("ssh", "setpriv")
PINS = ("host_keys.json", "host_keys.lock")
SHARED_MEMORY = Path("/dev/shm")


class Apart:
    """A copy of the product with folders of its own for all that a program may leave behind."""

    def __init__(self, *, isolation: str = "full") -> None:
        # Short, since a socket's path may be in there.
        self.root = Path(tempfile.mkdtemp(prefix="oc-"))
        self._namespaces: set[str] = set()
        # What stands before each command, to have it run somewhere else.
        self.inside: list[str] = []
        self._running: list[subprocess.Popen[bytes]] = []
        self._memory = set(SHARED_MEMORY.iterdir())
        (self.root / "product").mkdir()
        for name in PRODUCT:
            source = CHECKOUT / name
            if source.is_dir():
                shutil.copytree(source, self.root / "product" / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, self.root / "product" / name)
        for name in ("home", "programs", "run", "state", "tmp"):
            (self.root / name).mkdir(mode=0o700, exist_ok=True)
        self._environment = {
            "HOME": str(self.root / "home"),
            "LANG": "C.UTF-8",
            "PATH": os.environ["PATH"] if isolation == "full" else self._path_without_bubblewrap(),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(self.root / "product"),
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.root / "tmp"),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "XDG_STATE_HOME": str(self.root / "state"),
        }

    def _path_without_bubblewrap(self) -> str:
        folder = self.root / "programs"
        for name in PROGRAMS:
            (folder / name).symlink_to(str(shutil.which(name)))
        return str(folder)

    def __enter__(self) -> Self:
        """Begin to use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing of it."""
        self.clear()
        shutil.rmtree(self.root)

    def clear(self) -> None:
        """End whatever is left, so that one test's failure is not the next one's."""
        for pid, words, _ in self._processes():
            if words is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for program in self._running:
            program.wait()
            for stream in (program.stdin, program.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
        self._running.clear()

    # --- starting -------------------------------------------------------------------------------------------------

    def ocore(self, *arguments: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start the command line."""
        return self._start([sys.executable, "-m", "ocore", *arguments], stdin)

    def driver(self, order: dict[str, Any]) -> subprocess.Popen[bytes]:
        """Start a program that uses the library (`driver.py`); it is cancelled by a line on its standard input."""
        program = self._start([sys.executable, str(DRIVER)], subprocess.PIPE)
        assert program.stdin is not None
        program.stdin.write(json.dumps(order).encode() + b"\n")
        program.stdin.flush()
        return program

    def _start(self, command: list[str], stdin: IO[bytes] | int) -> subprocess.Popen[bytes]:
        program = subprocess.Popen(
            [*self.inside, *command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            cwd=self.root,
            # As at a terminal: a signal to the foreground's group must not be what ends a child.
            start_new_session=True,
        )
        self._running.append(program)
        return program

    # --- looking --------------------------------------------------------------------------------------------------

    def alive(self) -> dict[int, str]:
        """Return every process of ours, by the path it carries or by a namespace that is known to be ours."""
        found = {}
        for pid, words, namespace in self._processes():
            if words is not None or namespace in self._namespaces:
                found[pid] = words or "in a namespace of ours"
        if not found:
            # The kernel gives their numbers to others now.
            self._namespaces.clear()
        return found

    def _processes(self) -> Iterator[tuple[int, str | None, str]]:
        """Yield each process of this machine, with its command line if it carries our path, and its namespace."""
        marker = os.fsencode(self.root)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
                    shown = words.replace(b"\0", b" ").decode(errors="replace")[:300]
                    carries = marker in words or marker in environment
                    yield int(entry.name), shown if carries else None, (entry / "ns" / "pid").readlink().name

    def note_namespaces(self) -> None:
        """Remember the namespaces that our processes are in, to find also those that hide what they carry."""
        own = Path("/proc/self/ns/pid").readlink().name
        for pid in self.alive():
            with contextlib.suppress(OSError):
                self._namespaces.add(Path(f"/proc/{pid}/ns/pid").readlink().name)
        self._namespaces.discard(own)

    def left(self) -> list[str]:
        """Return every file that is left where programs leave files; pinned host keys are meant to stay."""
        folders = [self.root / name for name in ("home", "run", "tmp")]
        found = [str(path) for folder in folders for path in folder.rglob("*")]
        found += [str(path) for path in (self.root / "state").rglob("*") if path.is_file() and path.name not in PINS]
        return found + sorted(str(path) for path in set(SHARED_MEMORY.iterdir()) - self._memory if is_ours(path))


def is_ours(path: Path) -> bool:
    """Tell whether a file in shared memory can be of a run of ours; other programs put theirs there, too."""
    with contextlib.suppress(OSError):
        return path.stat().st_uid == os.getuid() and path.name.startswith(("ocore", "psm_", "sem."))
    return False


def seconds_until(what: Callable[[], object], seconds: float, why: str | Callable[[], str]) -> float:
    """Wait until `what` returns something true; return the seconds it took.

    What is to be said of how things stand when it is over is a function: text would tell how they stood before.
    """
    began = time.monotonic()
    while True:
        if what():
            return time.monotonic() - began
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds:.0f} s: {why if isinstance(why, str) else why()}")
        time.sleep(0.02)
