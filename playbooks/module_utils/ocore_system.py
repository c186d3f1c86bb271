"""What a Linux system says of itself. The functions that interpret take text; reading is done by the caller."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Dict, List, Optional

from ansible.module_utils.ocore_text import plain, read_text

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MAX_LIKE = 10
SYSTEMD_RUNS = "/run/systemd/system"
# systemd says here in what kind of container it runs.
CONTAINER = "/run/systemd/container"


def parse_os_release(text: str) -> Dict[str, str]:
    """Return the assignments of an os-release file, without their quotes."""
    values = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            values[name] = plain(value.strip().strip("\"'"))
    return values


def describe_os(release: Dict[str, str], debian_version: str) -> Dict[str, Any]:
    """Return the system's name and version; Debian's point release is not in os-release but in a file of its own."""
    identity = release.get("ID", "linux")
    version_id = release.get("VERSION_ID", "")
    point_release = debian_version.strip()
    is_number = re.match(r"\d+(\.\d+)*$", point_release)
    return {
        "os_id": identity,
        "os_like": release.get("ID_LIKE", "").split()[:MAX_LIKE],
        "os_name": release.get("NAME", identity),
        "os_version": plain(point_release) if identity == "debian" and is_number else version_id,
        "os_version_id": version_id,
        "os_codename": release.get("VERSION_CODENAME", ""),
    }


def memory_bytes(meminfo: str) -> int:
    """Return MemTotal of /proc/meminfo in bytes; 0 where it says nothing."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def usable_cores(allowed: int, quotas: List[Optional[float]]) -> int:
    """Return how many cores can be used: those allowed, or what a quota leaves of them; at least one."""
    return max(1, min([allowed] + [int(quota) for quota in quotas if quota is not None]))


def unified_quota(cpu_max: str) -> Optional[float]:
    """Return the cores that cgroup v2's cpu.max grants; None without a limit."""
    quota, _, period = cpu_max.strip().partition(" ")
    return _cores(quota, period)


def legacy_quota(quota: str, period: str) -> Optional[float]:
    """Return the cores that cgroup v1's quota and period grant; None without a limit."""
    return _cores(quota.strip(), period.strip())


def _cores(quota: str, period: str) -> Optional[float]:
    if not (quota.isdigit() and period.isdigit()) or int(period) == 0:
        return None
    return int(quota) / int(period)


def nearest_existing(path: str) -> Path:
    """Return the path, or the nearest of its parents that is there."""
    nearest = Path(path)
    while not nearest.exists():
        nearest = nearest.parent
    return nearest


def os_facts() -> Dict[str, Any]:
    """Return the name and version of this system, of its kernel and of its architecture."""
    kernel = os.uname()
    facts = describe_os(parse_os_release(read_text("/etc/os-release")), read_text("/etc/debian_version"))
    facts["kernel"] = plain(kernel.release)
    facts["architecture"] = ARCHITECTURES.get(kernel.machine, plain(kernel.machine))
    facts["container"] = plain(read_text(CONTAINER))
    facts["init"] = "systemd" if Path(SYSTEMD_RUNS).is_dir() else plain(read_text("/proc/1/comm"))
    return facts


def hardware_facts(disk_path: str) -> Dict[str, int]:
    """Return cores, memory, and the disk that holds a path, whether that path is there already or not."""
    quotas = [
        unified_quota(read_text("/sys/fs/cgroup/cpu.max")),
        legacy_quota(
            read_text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), read_text("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
        ),
    ]
    disk = os.statvfs(nearest_existing(disk_path))
    return {
        "cpu_cores": usable_cores(len(os.sched_getaffinity(0)), quotas),
        "ram_total_bytes": memory_bytes(read_text("/proc/meminfo")),
        "disk_total_bytes": disk.f_blocks * disk.f_frsize,
        "disk_free_bytes": disk.f_bavail * disk.f_frsize,
    }
