"""The fallback without namespaces: what a supervisor ends, and what it removes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 10.0
# The work: a program that leaves its session and its parent, as ssh's master does; then it waits to be told to end.
WORK = """
import os, subprocess, sys
from pathlib import Path
from ocore.inside import supervisor
folder = supervisor.watch(Path(sys.argv[1]))
os.environ["HOME"] = str(folder)
subprocess.run(["sh", "-c", "setsid sleep 300 & sleep 0"])
(folder / "secret").write_text("in use")
print(folder, flush=True)
sys.stdin.read()
"""


class Supervised:
    """A supervised process, and the folder that it works in."""

    def __init__(self, base: Path, *prefix: str) -> None:
        command = [*prefix, sys.executable, "-c", WORK, str(base)]
        pipe = subprocess.PIPE
        self.program = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=os.environ | {"MARK": str(base)})
        assert self.program.stdout is not None
        self.folder = Path(self.program.stdout.readline().decode().strip())

    def close(self) -> None:
        """Close the pipes."""
        for stream in (self.program.stdin, self.program.stdout):
            assert stream is not None
            stream.close()


def _alive(base: Path) -> list[int]:
    """Return every process that carries the mark."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if b"MARK=" + os.fsencode(base) + b"\0" in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


def _wait_until_gone(base: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while _alive(base):
        assert time.monotonic() < deadline, "something is still alive"
        time.sleep(0.02)


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """Return the folder for work folders; what a test leaves alive is ended."""
    yield tmp_path
    for pid in _alive(tmp_path):
        os.kill(pid, signal.SIGKILL)


def _assert_nothing_left(base: Path) -> None:
    _wait_until_gone(base)
    assert not list(base.iterdir())


def test_a_supervisor_that_is_asked_to_end_ends_everything(base: Path) -> None:
    """SIGTERM ends the work and what detached itself from it, and removes the folder."""
    one = Supervised(base)
    assert len(_alive(base)) == 3
    one.program.terminate()
    assert one.program.wait(SECONDS) == 128 + signal.SIGTERM
    one.close()
    _assert_nothing_left(base)


def test_the_end_of_the_work_ends_what_detached(base: Path) -> None:
    """When the work ends by itself, so does what it started."""
    one = Supervised(base)
    one.close()
    assert one.program.wait(SECONDS) == 0
    _assert_nothing_left(base)


def test_the_death_of_the_librarys_process_ends_everything(base: Path) -> None:
    """When the process that started the supervisor is killed, nothing goes on."""
    starter = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    one = Supervised(base, sys.executable, "-c", starter)
    assert len(_alive(base)) == 4
    one.program.kill()
    one.program.wait(SECONDS)
    _assert_nothing_left(base)
    one.close()


def test_a_killed_supervisor_takes_the_work_with_it_and_the_next_one_the_rest(base: Path) -> None:
    """If the supervisor itself is killed, the work ends; the next run ends what detached, and removes the folder."""
    one = Supervised(base)
    one.program.kill()
    one.program.wait(SECONDS)
    deadline = time.monotonic() + SECONDS
    while len(_alive(base)) > 1:
        assert time.monotonic() < deadline, "the work goes on"
        time.sleep(0.02)
    assert (one.folder / "secret").exists()
    [detached] = _alive(base)
    two = Supervised(base)
    assert not one.folder.exists()
    assert detached not in _alive(base)
    assert len(_alive(base)) == 3
    two.close()
    one.close()
    two.program.wait(SECONDS)


def test_a_folder_in_use_stays(base: Path) -> None:
    """Runs beside each other leave each other's folders alone, at their start and at their end."""
    one = Supervised(base)
    two = Supervised(base)
    two.close()
    two.program.wait(SECONDS)
    assert not two.folder.exists()
    assert (one.folder / "secret").read_text() == "in use"
    one.close()
    one.program.wait(SECONDS)


def test_a_folder_of_another_name_stays(base: Path) -> None:
    """Only folders of ours are removed."""
    (base / "ocore-of-mine").mkdir()
    one = Supervised(base)
    one.close()
    one.program.wait(SECONDS)
    assert [entry.name for entry in base.iterdir()] == ["ocore-of-mine"]
