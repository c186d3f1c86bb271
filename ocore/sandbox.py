"""The process tree of a run: started in namespaces of its own, so that ending its first process ends all of it.

bubblewrap gives it a PID namespace (nothing can leave it), private file systems where programs leave things behind
(/tmp, /run, /dev/shm, home), and of the machine's files only programs and their settings, read-only, also for root: a
server that takes over the ssh client finds no data of anybody there. Where a machine refuses namespaces the tree is
started under a supervisor instead; see `ocore/inside/supervisor.py` for what that does not promise.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import IO, Final, Literal

from ocore import content

Isolation = Literal["full", "reduced", "replayed"]

WORK: Final = "/run/ocore"
# Programs and what they are set up with. Whatever else the machine has is not there: data may be anywhere.
_SYSTEM: Final = ("/bin", "/etc", "/gnu", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/sbin", "/usr")
# By these, users are known who come from a directory service; ssh refuses to start for a user whom it does not know.
_USERS: Final = ("/var/lib/sss/mc", "/var/lib/sss/pipes/nss")
# What root can read in the former, without any privilege.
_SECRET: Final = (
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/letsencrypt",
    "/etc/ocore",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/sudoers",
    "/etc/sudoers.d",
)
_EMPTY: Final = ("/tmp", "/var/tmp", "/run", "/home", "/root")  # noqa: S108 - hidden, not used
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def isolation() -> Isolation:
    """Tell what this machine allows: namespaces ("full"), or only a supervisor ("reduced")."""
    try:
        return "full" if _namespaces_work() else "reduced"
    except (OSError, subprocess.TimeoutExpired):
        return "reduced"  # for this run; the next one asks again


@functools.cache
def _namespaces_work() -> bool:
    if shutil.which("bwrap") is None:
        return False
    view = ["--ro-bind", "/", "/", "--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"]
    probe = ["bwrap", *_namespaces(), *view, "true"]
    done = subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    return done.returncode == 0


def _namespaces() -> list[str]:
    return ["--die-with-parent", "--new-session", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]


def _needed() -> list[Path]:
    """Return the folders that Python, Ansible and our own files are read from."""
    found = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parent.parent, content.root()]
    for package in ("ansible", "ansible_runner", "yaml"):
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            found.append(Path(spec.origin).parent.parent)
    # As it is named, and where it really is: a virtual environment may be reached through a link.
    paths = list(dict.fromkeys(one for path in found for one in (path.absolute(), path.resolve())))
    return [path for path in paths if not any(path.is_relative_to(other) for other in paths if other != path)]


def _environment(work: str) -> dict[str, str]:
    scripts = dict.fromkeys((str(Path(sys.executable).parent), sysconfig.get_path("scripts")))
    return {
        "HOME": work,
        "LANG": "C.UTF-8",
        "PATH": ":".join([*scripts, _SYSTEM_PATH]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "OCORE_WORK": work,
    }


def _shown(path: str) -> list[str]:
    """Return the arguments that show something of the machine's as it is, read-only; none where it is not there."""
    if Path(path).is_symlink():
        return ["--symlink", str(Path(path).readlink()), path]
    return ["--ro-bind-try", path, path]


def _hidden(path: str) -> list[str]:
    """Return the arguments that put something empty over what is shown."""
    if Path(path).is_dir():
        return ["--tmpfs", path, "--remount-ro", path]
    return ["--ro-bind", "/dev/null", path] if Path(path).exists() else []


def _privileges(agent_socket: str | None) -> list[str]:
    """Return the arguments that leave root no privilege but, where it uses another user's agent, to reach that."""
    kept = []
    if agent_socket and os.getuid() == 0 and Path(agent_socket).stat().st_uid != 0:
        kept = ["--cap-add", "CAP_DAC_OVERRIDE"]
    return ["--cap-drop", "ALL", *kept]


def _bubblewrap(agent_socket: str | None) -> list[str]:
    command = ["bwrap", *_namespaces(), *_privileges(agent_socket)]
    command += [word for path in (*_SYSTEM, *_USERS) for word in _shown(path)]
    command += [word for path in _SECRET for word in _hidden(path)]
    command += ["--dev", "/dev", "--proc", "/proc"]
    command += [word for path in _EMPTY for word in ("--tmpfs", path)]
    for path in _needed():
        if not any(path.is_relative_to(folder) for folder in _SYSTEM):
            command += ["--ro-bind", str(path), str(path)]
    if agent_socket:
        command += ["--bind", agent_socket, agent_socket]
    command += ["--perms", "0700", "--dir", WORK, "--chdir", WORK, "--clearenv"]
    # The kernel's settings are in there, and root needs no privilege to change them.
    command += ["--remount-ro", "/proc", "--remount-ro", "/"]
    for name, value in _environment(WORK).items():
        command += ["--setenv", name, value]
    return command


def spawn(*, agent_socket: str | None, stderr: IO[bytes], leash: float | None = None) -> subprocess.Popen[bytes]:
    """Start the process that logs in and runs Ansible; it waits for orders on its standard input.

    The thread that calls this must live until the process has ended: the kernel ends the tree with that thread. With a
    leash, the process also ends by itself when so many seconds have passed without a line for it.
    """
    program = [sys.executable, "-P", "-m", "ocore.inside"]
    if leash is not None:
        program += ["--leash", str(leash)]
    environment: dict[str, str] = {"PATH": _SYSTEM_PATH}
    if isolation() == "full":
        program = [*_bubblewrap(agent_socket), *program]
    else:
        program.append("--supervised")
        environment = _environment(_shared_work())
    return subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment,
        start_new_session=True,
        cwd="/",
    )


def _shared_work() -> str:
    """Return the parent of the work folder where there are no namespaces: in memory, and this user's alone."""
    for folder in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):  # noqa: S108 - the folder is made with mkdtemp
        if folder and os.access(folder, os.W_OK):
            return folder
    raise OSError("there is no memory-backed folder for a run's files (XDG_RUNTIME_DIR or /dev/shm)")
