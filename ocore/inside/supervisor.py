"""The fallback where namespaces are refused: a process that adopts and ends everything that the run starts.

What it promises: when the run ends, is stopped, or the library's process dies, every descendant is killed, also those
that made sessions of their own. What it does not: if this supervisor itself is killed with SIGKILL, its descendants go
on; and secrets that programs leave in shared memory are removed only when the run ends in order.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

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


def _sweep() -> None:
    """Remove work folders in which no process of this user is at work any more."""
    used = set()
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        try:
            used.add(entry.readlink())
        except OSError:
            continue
    for folder in Path(os.environ["OCORE_WORK"]).glob("ocore-????????"):
        if folder.is_dir() and folder.stat().st_uid == os.getuid() and folder not in used:
            shutil.rmtree(folder, ignore_errors=True)


def watch() -> None:
    """Become the supervisor: return in a child that does the work; the supervisor itself never returns."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    for number in (0, 1):
        os.close(number)
    status = [1]

    def stop(_number: int, _frame: object) -> None:
        _end_all()
        _sweep()
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    while True:
        pid, wait_status = os.wait()
        if pid == child:
            status[0] = os.waitstatus_to_exitcode(wait_status)
            break
    _end_all()
    _sweep()
    sys.stderr.flush()
    os._exit(status[0] & 0xFF)
