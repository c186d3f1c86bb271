"""An ssh client that a server has taken over: it looks for all that it can see and change, and tells a test.

A test puts this in the place of `ssh` inside a run's sandbox, with `look.json` beside it. It knows nothing of tests.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOK = Path(__file__).with_name("look.json")
# Programs, and what the kernel makes up: nobody's data is there.
PASSED_OVER = ("/proc", "/sys", "/usr")
MS_REMOUNT, MS_BIND = 32, 4096


def tried(what: Callable[[], Any]) -> str:
    """Return what came of it, or why it could not be done."""
    try:
        return str(what())
    except OSError as error:
        return f"refused: {error.strerror}"


def walk() -> Iterator[str]:
    """Yield everything that is visible."""
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if f"{folder.rstrip('/')}/{name}" not in PASSED_OVER]
        yield from (f"{folder.rstrip('/')}/{name}" for name in (*folders, *files))


def sockets(found: list[str]) -> dict[str, str]:
    """Ask every socket that has a path for the keys it holds: such as are visible, and such as the kernel lists."""
    paths = [path for path in found if _is_socket(path)]
    for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
        paths += [path for path in line.split()[7:8] if path.startswith("/")]
    return {path: tried(lambda path=path: _connected(path)) for path in dict.fromkeys(paths)}


def _is_socket(path: str) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    return False


def _connected(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(2)
        one.connect(path)
    mine = os.environ | {"SSH_AUTH_SOCK": path}
    asked = subprocess.run(["ssh-add", "-L"], env=mine, capture_output=True, text=True, check=False, timeout=5)
    return f"connected: {asked.stdout}"


def remount(path: str) -> str:
    """Try to make a mount writable, in both of the ways there are."""
    libc = ctypes.CDLL(None, use_errno=True)
    for flags in (MS_REMOUNT, MS_REMOUNT | MS_BIND):
        if libc.mount(None, path.encode(), None, flags, None) == 0:
            return "remounted"
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(folder: str, name: str) -> str:
    """Try to write a file, and take it away again."""
    file = Path(folder, name)
    file.write_text("x", encoding="ascii")
    file.unlink()
    return "written"


def rewrite(path: str) -> str:
    """Try to write what a file holds into it again."""
    file = Path(path)
    file.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    return "written"


def device(folder: str) -> str:
    """Try to make a device that is this machine's first disk or memory."""
    path = Path(folder, "device")
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(254, 0))
    path.unlink()
    return "made"


def remount_elsewhere(path: str) -> str:
    """Try the same with the privileges that a user namespace of one's own gives."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-o", "remount,bind,rw", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "remounted" if done.returncode == 0 else f"refused: {done.stderr}"


def mounts() -> list[tuple[str, str]]:
    """Return where something is mounted, and what kind of a file system it is."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return [(words[1], words[2]) for words in map(str.split, lines)]


def look(order: dict[str, Any]) -> dict[str, Any]:
    """Look at everything."""
    found = list(walk())
    places = dict(mounts())
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    pids = sorted(int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit())
    return {
        "arguments": sys.argv[1:],
        "uid": os.getuid(),
        "capabilities": next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")),
        "environment": dict(os.environ),
        "named": [path for path in found if order["canary"] in path],
        "read": {path: tried(lambda path=path: Path(path).read_bytes()[:40]) for path in order["read"]},
        "processes": {pid: tried(lambda pid=pid: Path(f"/proc/{pid}/cmdline").read_bytes()) for pid in pids},
        "sockets": sockets(found),
        "remounted": {path: tried(lambda path=path: remount(path)) for path in ("/", "/usr", "/etc", "/proc")},
        "devices": {folder: tried(lambda folder=folder: device(folder)) for folder in ("/tmp", "/dev")},
        "written": {
            path: tried(lambda path=path: write(path, order["canary"]))
            for path in dict.fromkeys([*places, *order["write"]])
            if Path(path).is_dir()
        },
        "rewritten": {path: tried(lambda path=path: rewrite(path)) for path in order["rewrite"]},
        "kinds": places,
        "remounted_elsewhere": {path: remount_elsewhere(path) for path in ("/", "/usr", "/etc", "/proc")},
    }


def main() -> int:
    """Look, tell, and end as an ssh that was refused."""
    order = json.loads(LOOK.read_text(encoding="utf-8"))
    with socket.create_connection(("127.0.0.1", order["tell"])) as there:
        there.sendall(json.dumps(look(order)).encode())
    sys.stderr.write("Permission denied (publickey).\n")
    return 255


if __name__ == "__main__":
    sys.exit(main())
