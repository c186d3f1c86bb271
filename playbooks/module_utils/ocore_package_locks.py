"""Whether the package manager is free: who holds the locks of apt and dpkg, or of dnf and rpm."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List

from ansible.module_utils import ocore_rpm as rpm
from ansible.module_utils.ocore_commands import output
from ansible.module_utils.ocore_processes import lock_holder, program
from ansible.module_utils.ocore_text import plain

LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)
CLOUD_INIT = "/run/cloud-init/enabled"
CLOUD_INIT_UNITS = ("cloud-init-local.service", "cloud-init.service", "cloud-config.service", "cloud-final.service")


def busy() -> List[str]:
    """Return what keeps the package manager busy; cloud-init counts, for it installs packages as it goes."""
    found = lock_holders()
    if Path(CLOUD_INIT).exists():
        shown = output(["systemctl", "show", "--property=ActiveState,Job", "--", *CLOUD_INIT_UNITS])
        if cloud_init_runs(shown):
            found.append("cloud-init is still setting the server up")
    return [plain(one) for one in found]


def lock_holders() -> List[str]:
    """Return who holds which of the locks, each process once."""
    found: Dict[int, str] = {}
    for path in LOCKS + rpm.LOCKS:
        pid = lock_holder(path)
        if pid is not None:
            found.setdefault(pid, f"{program(pid)} (process {pid}) holds {path}")
    for pid, path in rpm.pid_holders().items():
        found.setdefault(pid, f"{program(pid)} (process {pid}) holds {path}")
    return list(found.values())


def cloud_init_runs(shown: str) -> bool:
    """Tell from what `systemctl show` prints of cloud-init's units whether one of them runs or waits to run."""
    lines = shown.splitlines()
    return "ActiveState=activating" in lines or any(line.startswith("Job=") and line != "Job=0" for line in lines)
