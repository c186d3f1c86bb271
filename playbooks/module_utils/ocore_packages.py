"""Reading the database of packages, of dpkg or of rpm."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple

from ansible.module_utils import ocore_rpm as rpm
from ansible.module_utils.ocore_text import read_text

STATUS = "/var/lib/dpkg/status"
MAX_STATUS_BYTES = 64 * 1024 * 1024
# What dpkg has not yet put into its database; numbered files, and nothing else, mean that it was interrupted.
JOURNAL = "/var/lib/dpkg/updates"
INSTALLED = "installed"
FIELDS = ("Package: ", "Version: ", "Status: ")
RESTING = (INSTALLED, "not-installed", "config-files")


def manager(path: str = STATUS) -> str:
    """Return which package manager the system has: `apt`, `dnf`, or none that we know."""
    if Path(path).exists():
        return "apt"
    return "dnf" if rpm.is_here() else ""


class Package(NamedTuple):
    """A package that dpkg knows: its state is `installed`, or one of dpkg's other words."""

    name: str
    version: str
    state: str


def parse_status(text: str) -> Iterator[Package]:
    """Yield each package of a dpkg status file."""
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.split("\n") if line.startswith(FIELDS))
        if "Package" in fields:
            state = fields.get("Status", "").rpartition(" ")[2]
            yield Package(fields["Package"], fields.get("Version", ""), state)


def installed_packages(path: str = STATUS) -> Dict[str, str]:
    """Return the version of each package that is wholly installed, on hold or not."""
    if not Path(path).exists() and rpm.is_here():
        return rpm.installed(rpm.query())
    packages = parse_status(read_text(path, MAX_STATUS_BYTES))
    return {package.name: package.version for package in packages if package.state == INSTALLED}


def unfinished_packages(path: str = STATUS, journal: str = JOURNAL) -> List[str]:
    """Return the packages that dpkg left half done; whatever its journal holds is half done, too.

    Of rpm, those of which it has left two versions.
    """
    if not Path(path).exists() and rpm.is_here():
        return rpm.doubled(rpm.query())
    packages = parse_status(read_text(path, MAX_STATUS_BYTES))
    found = [package.name for package in packages if package.state not in RESTING]
    entries = Path(journal).iterdir() if Path(journal).is_dir() else iter(())
    return found + [f"{entry.name} of its journal" for entry in entries if entry.name.isdigit()]
