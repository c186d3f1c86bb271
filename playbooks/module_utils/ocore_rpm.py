"""Reading rpm's database of packages, and who holds the locks of rpm and dnf; uses only what the system ships."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple

from ansible.module_utils.ocore_commands import output
from ansible.module_utils.ocore_text import read_text

# rpm keeps its database at one of these places.
DATABASES = ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
QUERY = ["rpm", "--query", "--all", "--queryformat", "%{NAME}\t%{ARCH}\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\n"]
# rpm's own lock is held with fcntl; dnf writes its process into files.
LOCKS = tuple(f"{path}/.rpm.lock" for path in DATABASES)
PID_FILES = (
    "/var/lib/dnf/rpmdb_lock.pid",
    "/var/cache/dnf/metadata_lock.pid",
    "/var/cache/dnf/download_lock.pid",
)
# Of these several versions are installed side by side.
SIDE_BY_SIDE = re.compile(r"kernel(-.*)?$|gpg-pubkey$")


class Package(NamedTuple):
    """A package that rpm knows."""

    name: str
    architecture: str
    version: str


def is_here() -> bool:
    """Tell whether this system's packages are rpm's."""
    return any(Path(path, "rpmdb.sqlite").exists() or Path(path, "Packages").exists() for path in DATABASES)


def parse_query(text: str) -> Iterator[Package]:
    """Yield each package of what `rpm --query` prints."""
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) == len(Package._fields):
            yield Package(*fields)


def installed(text: str) -> Dict[str, str]:
    """Return the version of each package, without the epoch that says nothing."""
    return {one.name: re.sub(r"^0:", "", one.version) for one in parse_query(text)}


def doubled(text: str) -> List[str]:
    """Return the packages of which two versions are there: what an interrupted update leaves behind."""
    versions: Dict[str, List[str]] = {}
    for one in parse_query(text):
        if not SIDE_BY_SIDE.match(one.name):
            versions.setdefault(f"{one.name}.{one.architecture}", []).append(one.version)
    return sorted(name for name, found in versions.items() if len(found) > 1)


def query() -> str:
    """Return what rpm says of all packages."""
    return output(QUERY)


def pid_holders() -> Dict[int, str]:
    """Return the processes that live and that dnf's files name, each with the file."""
    found: Dict[int, str] = {}
    for path in PID_FILES:
        pid = read_text(path).strip()
        if pid.isdigit() and Path("/proc", pid).exists():
            found.setdefault(int(pid), path)
    return found
