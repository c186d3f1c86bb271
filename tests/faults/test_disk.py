"""A disk is full: that of the database, or what a run keeps its files in. It is said in words, and nothing stays."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from tests.faults.asking import Crowd
from tests.faults.disks import SmallDisk
from tests.faults.played import Played, body, create, only_run
from tests.hosts import state
from tests.integration.apart import Apart
from tests.integration.conftest import start
from tests.integration.stoppable import LONG, long_task, long_task_began
from tests.service.pausing import Pausing
from tests.service.support import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts import Host
    from tests.service.support import Service

    Record = Callable[[str, object], None]

# Run by `./dev faults`: the whole of them takes longer than everybody's tests may.
pytestmark = pytest.mark.slow

# Hosts as they are made for what is of one run.
__all__ = ["start"]
KIB = 32 * 1024
FULL = 15.0
WORDS = "No space left on device"
# Where Ansible itself only gives up what it wanted to write.
NO_FACTS = "there was no room here for this run's files"


@contextlib.contextmanager
def _no_larger(service: Service) -> Iterator[None]:
    """Let an SQLite database become no larger than it is."""
    engine = service.parts.database.engine
    limited = threading.Event()
    limited.set()

    # What listens stays: each pool that takes the place of a disposed one goes on telling it.
    def limit(connection: object, _: object) -> None:
        if limited.is_set():
            connection.execute("PRAGMA max_page_count = 1")  # type: ignore[attr-defined]

    event.listen(engine, "connect", limit)
    engine.dispose()
    yield
    limited.clear()
    engine.dispose()


@pytest.mark.promise("F10")
@pytest.mark.parametrize("storage", ["sqlite"])
def test_a_database_that_cannot_grow_refuses_in_words(service: Service) -> None:
    """A request says to come again, and has left nothing; a run that cannot write says so, and can be tried again."""
    made = service.create()["id"]
    transport = Pausing()
    with service.worker(transport):
        transport.wait()
        with _no_larger(service):
            transport.go.set()
            codes = [service.call("POST", "/api/servers", json=service.body()) for _ in range(20)]
            refused = [answer for answer in codes if answer.status_code != 201]
            assert refused
            for answer in refused:
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
                assert int(answer.headers["Retry-After"]) > 0
            listed = service.call("GET", "/api/servers").json()["servers"]
            assert len(listed) == 1 + len(codes) - len(refused)
            assert transport.ended.wait(60), "the run ends over it"
        # Its end needs room, too: its worker waits for that, and keeps it until then.
        assert "progress could not be written" in service.until(made, "error", 60)["statusMessage"]
        # A locked SQLite is told like a full one: who is told to come again does so.
        wait_for(lambda: service.call("POST", f"/api/servers/{made}/retry").status_code == 200, "it is made again", 30)
        for one in listed:
            service.until(one["id"], "active", 60)


@pytest.mark.promise("F10")
def test_a_full_disk_under_the_database_is_waited_for(tmp_path: Path, record_property: Record) -> None:
    """Requests are told to come again; runs stop by themselves; all goes on once there is room."""
    with Played(tmp_path, {}) as served, SmallDisk(served.home, KIB) as disk:
        served.inside, served.home = disk.inside, disk.seen
        _, worker = served.start("api", "worker")
        client = served.client()
        server = create(client, "takes-40-1.example")
        wait_for(lambda: only_run(client, server)["state"] == "running", "its run goes on")
        with Crowd(client, server) as crowd:
            time.sleep(1)
            until = time.monotonic() + FULL
            while time.monotonic() < until:
                # What the database gives back to the disk is taken again.
                disk.fill()
                time.sleep(0.2)
            disk.empty()
            back = time.monotonic()
            wait_for(lambda: crowd.recovered(back) is not None, "requests are answered well again", 60)
            record_property("recovery", round(crowd.recovered(back) or 0.0, 2))
        bad = [one for one in crowd.answers if not one.allowed]
        assert not bad, bad[:3]
        assert [one for one in crowd.answers if one.status == 503], "nobody was told to come again"
        for one in (server, *crowd.created):
            client.until(one, "active", 240)
            # SQLite cannot be asked from outside of that disk's namespace.
            assert all(run["finishedAt"] for run in client.runs(one))
        key = body("x")["sshPrivateKey"].splitlines()[2].encode()
        assert not _holding(disk.seen, key)
        said = [one.said() for one in served.running]
        assert not [text for text in said if key.decode() in text]
        assert "a step failed" not in worker.said()


def _holding(folder: Path, secret: bytes) -> list[Path]:
    """Return the files in a folder, and in those below it, that hold a secret."""
    found = []
    for file in folder.rglob("*"):
        # A service that goes on takes files away, too.
        with contextlib.suppress(FileNotFoundError):
            if file.is_file() and secret in file.read_bytes():
                found.append(file)
    return found


@pytest.fixture(scope="module")
def host(start: Callable[..., Host]) -> Host:
    """Return a host with Docker in it."""
    return start("root-key", docker=True)


def _validate(apart: Apart, host: Host, *more: str) -> subprocess.Popen[bytes]:
    options = ["--allow-loopback", "--minimum-disk-gb", "1", "--key", str(state.client_key())]
    return apart.ocore("validate", host.target, *options, *more)


@pytest.mark.promise("F10")
def test_a_run_without_room_for_its_files_fails_in_words(host: Host, record_property: Record) -> None:
    """However far it comes: it ends by itself, says what is missing, and leaves no file and no process."""
    sizes, failed = range(4, 32, 4), []
    for kilobytes in sizes:
        # Without namespaces, since there a run's files are where somebody may have filled the disk.
        with Apart(isolation="reduced") as apart, SmallDisk(apart.root / "run", kilobytes) as disk:
            apart.inside = disk.inside
            program = _validate(apart, host)
            said, _ = program.communicate(timeout=120)
            if program.returncode == 0:
                continue
            failed.append(kilobytes)
            assert any(words in said.decode() for words in (WORDS, NO_FACTS)), (kilobytes, said.decode())
            assert "Traceback" not in said.decode(), (kilobytes, said.decode())
            assert not list(disk.seen.iterdir()), kilobytes
            assert not apart.alive()
    assert failed, "each of them has room enough"
    record_property("runs", len(failed))
    with Apart(isolation="reduced") as apart:
        program = _validate(apart, host)
        program.communicate(timeout=120)
        assert program.returncode == 0, "with room it works"


@pytest.mark.promise("F10")
def test_a_sandbox_whose_memory_is_full_fails_in_words(host: Host) -> None:
    """The same with namespaces, in the middle of a run."""
    with Apart() as apart, long_task(host):
        options = ["--allow-loopback", "--minimum-disk-gb", "1", "--key", str(state.client_key()), "--proxy", "none"]
        program = apart.ocore("provision", host.target, *options)
        wait_for(lambda: program.poll() is not None or long_task_began(host), "the long task begins", 180)
        apart.note_namespaces()
        own = Path("/proc/self/ns/mnt").readlink()
        inside = [pid for pid in apart.alive() if Path(f"/proc/{pid}/ns/mnt").readlink() != own]
        enter = ["nsenter", "--target", str(inside[-1]), "--mount", "--"]
        used = int(subprocess.check_output([*enter, "df", "--output=used", "-k", "/run"]).split()[-1])
        subprocess.run([*enter, "mount", "-o", f"remount,size={used + 4}k", "/run"], check=True)
        host.exec(f"pkill -f '^{LONG}'", check=False)
        said, _ = program.communicate(timeout=180)
        assert program.returncode != 0
        assert WORDS in said.decode(), said.decode()[-3000:]
        assert not apart.alive()
        assert not apart.left()
