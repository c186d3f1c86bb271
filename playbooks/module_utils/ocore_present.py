"""What is on a server at this moment, by kind and name. Reads only.

What cannot be read is an error (an OSError, or DockerUnavailable) and never passes for something that is not there:
that would be recorded as put there by us, and taken away when the server is cleaned up.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from functools import cached_property
from typing import Any, Collection, Dict, Optional, Set
from urllib.parse import quote

from ansible.module_utils import ocore_rpm as rpm
from ansible.module_utils.ocore_apt import would_install
from ansible.module_utils.ocore_commands import CommandError, needed_output
from ansible.module_utils.ocore_docker import DockerSocket, DockerUnavailable
from ansible.module_utils.ocore_packages import manager
from ansible.module_utils.ocore_text import read_bytes

MAX_ORIGINAL = 256 * 1024
DPKG = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n"]
# Where a Docker that came as no package may be, besides the usual places.
PROGRAMS = "/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin:/bin:/sbin:/snap/bin:/opt/bin"
DOCKER_PATHS = {"container": "/containers/{}/json", "network": "/networks/{}", "image": "/images/{}/json"}


def digest(content: bytes) -> str:
    """Return the digest by which the manifest knows a file's content."""
    return hashlib.sha256(content).hexdigest()


def docker_path(kind: str, name: str) -> str:
    """Return where Docker's API describes a container, a network or an image."""
    return DOCKER_PATHS[kind].format(quote(name, safe="/:@"))


class Present:
    """A server as it is now."""

    def __init__(self, docker: Optional[DockerSocket] = None) -> None:
        """Take the way to Docker; the one on the usual socket without it."""
        self._docker = docker or DockerSocket()

    @cached_property
    def packages(self) -> Dict[str, str]:
        """Return the state of each package, in dpkg's words: `installed`, `config-files` and so on."""
        if manager() == "dnf":
            return dict.fromkeys(rpm.installed(needed_output(rpm.QUERY)), "installed")
        states = parse_package_states(needed_output(DPKG))
        if not states:
            # dpkg itself is a package.
            raise CommandError("dpkg lists no package at all, so it cannot be told what was there before")
        return states

    def would_install(self, names: Collection[str]) -> Set[str]:
        """Return the packages that apt would install with these; nothing where it cannot tell."""
        return would_install(names) if self.has_apt() else set()

    def has_apt(self) -> bool:
        """Tell whether the system's packages are those of apt."""
        return manager() == "apt"

    def unit_file(self, name: str) -> str:
        """Return the path of the file that defines a unit; nothing where there is no such unit."""
        return needed_output(["systemctl", "show", "--property=FragmentPath", "--value", "--", name]).strip()

    def is_active(self, name: str) -> bool:
        """Tell whether a unit runs."""
        state = needed_output(["systemctl", "show", "--property=ActiveState", "--value", "--", name]).strip()
        return state not in ("inactive", "failed")

    def has_table(self, name: str) -> bool:
        """Tell whether the kernel has a table of nftables; without `nft` nobody can have loaded one."""
        tables = needed_output(["nft", "list", "tables"]) if shutil.which("nft", path=PROGRAMS) else ""
        return f"table {name}" in tables.splitlines()

    def in_docker(self, kind: str, name: str) -> Optional[Any]:
        """Return what Docker says of a container, a network or an image; None where it has none.

        None, too, where there is no Docker; raises DockerUnavailable where there is one that does not answer.
        """
        try:
            return self._docker.get(docker_path(kind, name))
        except DockerUnavailable:
            if self.has_docker():
                raise
            return None

    def has_docker(self) -> bool:
        """Tell whether Docker is installed, running or not."""
        return shutil.which("dockerd", path=PROGRAMS) is not None


def parse_package_states(text: str) -> Dict[str, str]:
    """Return the state of each package; of one that is there for several architectures, the most installed one."""
    states: Dict[str, str] = {}
    for line in text.splitlines():
        name, _, state = line.partition(" ")
        if states.get(name) != "installed" and state != "not-installed":
            states[name] = state
    return states


def file_state(path: str) -> Optional[Dict[str, Any]]:
    """Return what is at a path: its digest, owner, group, mode, and its content unless that is large.

    None where there is nothing; what is no regular file has no digest, and so is never equal to a file of ours. Raises
    OSError where it cannot be read.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    state = {"uid": found.st_uid, "gid": found.st_gid, "mode": stat.S_IMODE(found.st_mode)}
    if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_ORIGINAL:
        return dict(state, digest=None, content=None)
    content = read_bytes(path, MAX_ORIGINAL)
    return dict(state, digest=digest(content), content=content)
