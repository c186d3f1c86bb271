"""The fallback where namespaces are refused: a process that adopts and ends everything that the run starts.

What it promises: when the run ends, is stopped, or the library's process dies, every descendant is killed, also those
that made sessions of their own, and the work folder is removed. What it does not: if this supervisor itself is killed
with SIGKILL, descendants that detached themselves go on, and the work folder stays; the next run on this machine ends
and removes them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NoReturn

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_PATIENCE: Final = 4.0


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def children_of(parents: dict[int, int], root: int) -> list[int]:
    """Return every descendant of a process, given each process's parent."""
    found, wanted = [], {root}
    while wanted:
        wanted = {pid for pid, parent in parents.items() if parent in wanted}
        found += sorted(wanted)
    return found


def _parents() -> dict[int, int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return parents


def _end_all() -> None:
    """Kill every descendant until none is left; as their reaper we are told of each."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        for pid in children_of(_parents(), os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.02)


def _make_folder(base: Path) -> Path:
    """Make a work folder, locked for as long as this process or its child lives."""
    draft = Path(tempfile.mkdtemp(prefix=".ocore-", dir=base))
    # Stays open on purpose. Only a locked folder takes a name that `_sweep` looks at.
    fcntl.flock(os.open(draft, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX)
    return draft.rename(draft.with_name(draft.name.removeprefix(".")))


def _end_those_of(folder: Path) -> None:
    """Kill what names a work folder: as its home, or, where that cannot be read (ssh-agent), in its command line."""
    name = os.fsencode(folder)
    for entry in Path("/proc").glob("[0-9]*"):
        for words in ("environ", "cmdline"):
            with contextlib.suppress(OSError):
                if name in (entry / words).read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)


def _sweep(base: Path) -> None:
    """End and remove what nobody holds any more: the processes and work folders of supervisors that were killed."""
    for folder in base.glob("ocore-????????"):
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(handle).st_uid == os.getuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _end_those_of(folder)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def watch(base: Path) -> Path:
    """Become the supervisor of a child that does the work: return, in the child, the folder to work in.

    The supervisor itself never returns. It removes the folder when it ends.
    """
    own = os.getpid()
    folders: list[Path] = []

    def end(status: int) -> NoReturn:
        _end_all()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(status)

    signal.signal(signal.SIGTERM, lambda *_: end(128 + signal.SIGTERM))
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _sweep(base)
    folders.append(_make_folder(base))
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != own:  # it was killed before we asked to be told
            os._exit(1)
        return folders[0]
    for number in (0, 1):
        os.close(number)
    while True:
        pid, status = os.wait()
        if pid == child:
            sys.stderr.flush()
            end(os.waitstatus_to_exitcode(status) & 0xFF)
