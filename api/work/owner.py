"""Who holds a lease: a process, by a name from which others on the same machine can tell whether it still lives."""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


def _boot() -> str:
    """Return what is the same for all processes that can see each other, and for no others."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"


def _began(pid: int) -> str:
    """Return when a process began; empty where there is none. A number alone may be another process's by now."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    # State, 18 more, and then the start in clock ticks since boot (proc(5): field 22).
    return "" if fields[0] in "ZX" else fields[19]


def new_owner() -> str:
    """Return a name for this process."""
    return f"{_boot()}/{os.getpid()}/{_began(os.getpid())}/{secrets.token_hex(4)}"


def is_dead(owner: str) -> bool:
    """Tell whether an owner is known to be dead; of one on another machine nothing is known."""
    boot, _, rest = owner.partition("/")
    if boot != _boot():
        return False
    pid, began = rest.split("/")[:2]
    return _began(int(pid)) != began


def is_over(until: datetime | None, moment: datetime, seconds: float) -> bool:
    """Tell whether a lease is over; also one that ends later than any can that was extended by this clock.

    Such a one is from before the clock was set back: who lives has extended it since, by the new time. Twice a lease's
    length leaves room for processes with other settings.
    """
    return until is None or not moment <= until <= moment + timedelta(seconds=2 * seconds)
