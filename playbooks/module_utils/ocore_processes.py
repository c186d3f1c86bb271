"""Which process holds a lock or a port."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional

from ansible.module_utils.ocore_text import plain, read_text

LOCAL_ADDRESS, STATE, INODE = 1, 3, 9  # the columns of /proc/net/tcp
LISTEN = "0A"
PROC = Path("/proc")
MAX_TABLE_BYTES = 16 * 1024 * 1024
_FLOCK = "hhqqi"  # type, whence, start, length, pid
_CONTAINER = re.compile(r"([0-9a-f]{64})")


class Listener(NamedTuple):
    """A process that listens at a TCP port; the process is unknown where it belongs to another namespace."""

    port: int
    pid: Optional[int]
    program: str
    container: Optional[str]


def program(pid: int) -> str:
    """Return a process's name."""
    return plain(read_text(f"{PROC}/{pid}/comm")) or "a process that has ended"


def lock_holder(path: str) -> Optional[int]:
    """Return the process that holds a lock (fcntl) on a file; None where nobody does or the file is not there."""
    question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        with Path(path).open("rb") as file:
            answer = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, question))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    kind, pid = answer[0], answer[4]
    return None if kind == fcntl.F_UNLCK else int(pid)


def listening_sockets(table: str) -> Dict[str, int]:
    """Return inode and port of each listening socket of a /proc/net/tcp table."""
    sockets = {}
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > INODE and fields[STATE] == LISTEN:
            sockets[fields[INODE]] = int(fields[LOCAL_ADDRESS].rpartition(":")[2], 16)
    return sockets


def container_of(cgroup: str) -> Optional[str]:
    """Return the id of the container to which a process's control group belongs."""
    found = _CONTAINER.search(cgroup)
    return found.group(1) if found else None


def listeners(ports: Iterable[int]) -> List[Listener]:
    """Return who listens at one of these ports, over IPv4 or IPv6."""
    wanted = set(ports)
    sockets: Dict[str, int] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        sockets.update(listening_sockets(read_text(table, MAX_TABLE_BYTES)))
    sockets = {inode: port for inode, port in sockets.items() if port in wanted}
    owners = _owners(set(sockets)) if sockets else {}
    found = [_listener(port, owners.get(inode)) for inode, port in sockets.items()]
    return sorted(set(found), key=lambda one: (one.port, one.pid or 0))


def _listener(port: int, pid: Optional[int]) -> Listener:
    if pid is None:
        return Listener(port, None, "a process of another namespace", None)
    return Listener(port, pid, program(pid), container_of(read_text(f"{PROC}/{pid}/cgroup")))


def _owners(inodes: Iterable[str]) -> Dict[str, int]:
    """Return for each socket the first process that has it open."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    owners: Dict[str, int] = {}
    for pid in sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()):
        for target in _open_files(pid):
            if target in wanted:
                owners.setdefault(wanted[target], pid)
    return owners


def _open_files(pid: int) -> List[str]:
    """Return what a process has open; nothing once it has ended."""
    try:
        return [_target(entry) for entry in (PROC / str(pid) / "fd").iterdir()]
    except OSError:
        return []


def _target(link: Path) -> str:
    """Return to what a symbolic link points; nothing once it is gone."""
    try:
        return os.readlink(link)  # noqa: PTH115 - Path.readlink is younger than Python 3.8
    except OSError:
        return ""
