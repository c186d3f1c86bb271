"""What a run's processes can see and change of this machine, and of other runs, once a server has taken over ssh.

The taken-over client stands where the run finds `ssh`, so it is in the real sandbox, as the real user, with the run's
own secrets; see `taken_over.py` for what it tries.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from ocore import sandbox
from tests.e2e.doors import Door
from tests.hosts.state import CHECKOUT
from tests.integration.apart import Apart, seconds_until
from tests.integration.codes_table import OTHER_KEY
from tests.integration.stoppable import Stoppable, long_task, long_task_began
from tests.integration.support import key_of
from tests.unit.keymaker import private_key, public_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts import Host


HERE = Path(__file__).parent
# Not as ours are named: other tests that run beside these would take it for what a run has left.
CANARY = f"canary-{uuid.uuid4().hex}"
# Where data of this machine may be: the service's own, other programs', other users'.
PLACES = ("/home", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var/lib", "/var/tmp", "/dev/shm", "/run")
# What the kernel keeps in memory for the run alone, and what leads to no data.
OWN_KINDS = {"tmpfs", "devpts"}
# Where everything must be run, they fail there.
full = pytest.mark.skipif(
    sandbox.isolation() == "reduced" and not os.environ.get("OCORE_REQUIRE_HOSTS"),
    reason="this machine refuses namespaces",
)


@dataclass
class LoggingIn:
    """A program that begins runs (`logging_in.py`), and what it says."""

    python: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Start it."""
        self._program = subprocess.Popen(
            [self.python, HERE / "logging_in.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), **self.environment},
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End it, with the runs that it began."""
        try:
            self._program.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._program.kill()
            self._program.communicate()
            raise

    @property
    def pid(self) -> int:
        """Its id."""
        return self._program.pid

    def log_in(self, port: int, key: str, host_key: str) -> None:
        """Begin a run, which logs in to a port of this machine."""
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps({"port": port, "key": key, "host_key": host_key}) + "\n")
        self._program.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return what the next run says of its login."""
        assert self._program.stdout is not None
        found: dict[str, Any] = json.loads(self._program.stdout.readline())
        return found


def _taken_over(folder: Path) -> Path:
    """Make an environment as that of the tests, in which `ssh` is taken over; return its Python."""
    programs = folder / "bin"
    programs.mkdir()
    (folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", folder)
    python = programs / "python3"
    python.symlink_to(Path(sys.executable).resolve())
    (programs / "ssh").write_text(f"#!{python} -I\n{(HERE / 'taken_over.py').read_text(encoding='utf-8')}", "utf-8")
    (programs / "ssh").chmod(0o755)
    return python


@dataclass
class Attack:
    """A run whose ssh is taken over."""

    folder: Path
    isolation: str = ""

    def made(self, *, read: list[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
        """Make the run, and return all that the client has seen."""
        python = _taken_over(self.folder)
        write = [*PLACES, "/etc", "/usr/bin", "/usr/local/bin", str(CHECKOUT), str(self.folder), sys.prefix]
        with socket.create_server(("127.0.0.1", 0)) as listener:
            order = {
                "canary": CANARY,
                "tell": listener.getsockname()[1],
                "read": read,
                "write": write,
                "rewrite": ["/proc/sys/kernel/core_pattern", "/proc/sys/vm/swappiness", "/sys/kernel/mm/ksm/run"],
            }
            (self.folder / "bin" / "look.json").write_text(json.dumps(order), encoding="utf-8")
            with LoggingIn(python, environment or {}) as program:
                program.log_in(22, private_key("rsa"), public_key())
                listener.settimeout(60)
                told, _ = listener.accept()
                with told, told.makefile("rb") as heard:
                    seen: dict[str, Any] = json.load(heard)
                self.isolation = program.answer()["isolation"]
        return seen


@pytest.fixture(scope="module")
def planted() -> Iterator[list[str]]:
    """Plant files where data may be, as the service's keys would be; return their paths."""
    made: list[Path] = []
    try:
        for place in PLACES:
            # Other users plant where they may: the run is theirs, and sees no more than they do.
            if Path(place).is_dir() and os.access(place, os.W_OK):
                (folder := Path(place, CANARY)).mkdir(mode=0o700)
                made.append(folder)
                (folder / "encryption-keys.json").write_text(CANARY, encoding="ascii")
        assert len(made) > 2
        yield [str(folder / "encryption-keys.json") for folder in made]
    finally:
        for folder in made:
            shutil.rmtree(folder)


@dataclass
class Victim:
    """Another run of this user, which has given a key to its agent, and waits for its server."""

    pid: int
    key: str


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    """Return a run that has given its key to its agent, and waits for a server that says nothing."""
    with Door(None) as tarpit, LoggingIn(Path(sys.executable)) as program:
        program.log_in(tarpit.port, private_key("ed25519"), public_key())
        seconds_until(lambda: tarpit.visits, 30, "the other run connects")
        yield Victim(program.pid, public_key("ed25519").split()[1])


def _secret() -> list[str]:
    """Return a file of this machine for each place that a sandbox hides as secret, as far as there is one to read.

    What is not there would be refused by any sandbox.
    """
    places = map(Path, [*sandbox._SECRET, "/etc/ssh/ssh_host_ed25519_key"])  # noqa: SLF001 - each of them is tried
    found = [str(file) for file in map(_readable, places) if file is not None]
    assert found, "there is no secret to be hidden"
    return found


def _readable(place: Path) -> Path | None:
    """Return a file, or the first one in a folder, that the tests themselves can read."""
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return next((file for file in files if file.is_file() and os.access(file, os.R_OK)), None)


@pytest.fixture(scope="module")
def seen(planted: list[str], victim: Victim, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what a taken-over client sees while another run goes on."""
    attack = Attack(tmp_path_factory.mktemp("taken-over"))
    found = attack.made(read=[*planted, *_secret(), f"/proc/{victim.pid}/environ"])
    assert attack.isolation == "full"
    return found


@full
@pytest.mark.promise("A7")
def test_a_run_sees_no_data_of_this_machine(seen: dict[str, Any], planted: list[str]) -> None:
    """Homes, the service's own folder wherever it is, other programs' data and root's secrets are not there."""
    assert seen["named"] == []
    assert {*planted, *_secret()} <= set(seen["read"])
    assert {came[:8] for came in seen["read"].values()} == {"refused:"}, seen["read"]


@full
@pytest.mark.promise("A7")
def test_a_run_changes_nothing_of_this_machine(seen: dict[str, Any]) -> None:
    """Also as root: what it can write is in memory and its own, and it has no privilege to change that."""
    assert int(seen["capabilities"], 16) == 0
    kinds = seen["kinds"]
    written = {path for path, came in seen["written"].items() if came == "written"}
    assert "/run" in written, "the client does not even find what it may write"
    assert {kinds[_mount_of(path, kinds)] for path in written} <= OWN_KINDS
    for what in ("remounted", "remounted_elsewhere", "rewritten", "devices"):
        assert {came[:8] for came in seen[what].values()} == {"refused:"}, (what, seen[what])


def _mount_of(path: str, kinds: dict[str, str]) -> str:
    """Return the mount that a path is in."""
    return max((place for place in kinds if Path(path).is_relative_to(place)), key=len)


@full
@pytest.mark.promise("A7", "A13")
def test_a_run_sees_no_process_but_its_own(seen: dict[str, Any]) -> None:
    """Neither the service nor another run is to be seen, and the environment is built from nothing."""
    others = [came for came in seen["processes"].values() if "logging_in.py" in came or "/pytest\\x00" in came]
    assert others == []
    assert 3 <= len(seen["processes"]) < 10
    assert set(seen["environment"]) <= {
        *("HOME", "LANG", "LC_CTYPE", "OCORE_WORK", "PATH", "PWD", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"),
    }


@full
@pytest.mark.promise("A4")
def test_a_run_reaches_no_other_runs_agent(seen: dict[str, Any], victim: Victim) -> None:
    """Of all sockets that the machine has it reaches its own agent, with its own key, and nothing else."""
    reached = {path: came for path, came in seen["sockets"].items() if came.startswith("connected")}
    assert list(reached) == ["/run/ocore/agent"], reached
    assert public_key("rsa").split()[1] in reached["/run/ocore/agent"]
    assert victim.key not in json.dumps(reached)


@pytest.mark.promise("A4")
def test_without_namespaces_a_run_s_sockets_are_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """Each run then has a folder whose name nobody knows beforehand, and which no other user can enter.

    That is less: runs are processes of one user, so that a client that is taken over reaches the agents of all others.
    """
    memory = tmp_path / "memory"
    memory.mkdir(mode=0o700)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("ssh", "setpriv"):
        (programs / name).symlink_to(str(shutil.which(name)))
    environment = {"PATH": str(programs), "XDG_RUNTIME_DIR": str(memory)}
    with Door(None) as tarpit, LoggingIn(Path(sys.executable), environment) as program:
        for _ in range(2):
            program.log_in(tarpit.port, private_key("ed25519"), public_key())
        seconds_until(lambda: tarpit.visits == 2, 30, "both runs connect")
        folders = list(memory.iterdir())
        assert len(folders) == 2
        for folder in folders:
            assert (folder.stat().st_mode & 0o777, folder.stat().st_uid) == (0o700, os.getuid())
            assert (folder / "agent").is_socket()
    assert list(memory.iterdir()) == []


@pytest.mark.promise("A4")
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("isolation", [pytest.param("full", marks=full), "reduced"])
def test_a_run_uses_no_connection_that_another_one_has_made(start: Callable[..., Host], isolation: str) -> None:
    """While a run is logged in to a host, another one to the same host and user with a wrong key is refused.

    A connection that was found by the host's name, as OpenSSH's own are, would let it in.
    """
    host = start("root-key")
    with Apart(isolation=isolation) as apart, long_task(host):
        first = Stoppable(apart.driver(_order(host, key_of(host))), 0)
        seconds_until(lambda: first.ended() or long_task_began(host), 600, "the first run is in the middle of a step")
        assert not first.ended(), first.lines
        second = Stoppable(apart.driver(_order(host, OTHER_KEY)), 0)
        seconds_until(second.ended, 120, "the second run ends")
        assert (second.code, second.last["isolation"]) == ("auth_denied", isolation), second.lines
        assert not first.ended(), first.lines
        first.stop("cancel")
        seconds_until(first.ended, 60, "the first run ends")


def _order(host: Host, key: str) -> dict[str, Any]:
    return {
        "server": {"host": host.address, "port": host.ssh_port, "user": host.user},
        "credentials": {"private_key": key},
        "options": {"allow_loopback": True, "minimum_disk_gb": 1, "proxy": "none"},
        "steps": ["packages"],
    }
