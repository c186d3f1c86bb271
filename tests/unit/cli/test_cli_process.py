"""The command line as a process: signals, closed pipes, a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ocore.cli import main
from ocore.errors import ErrorCode, Failure
from ocore.models import RunStatus, TaskEvent
from tests.unit.cli.fakes import NOW, FakeDoor, result
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from threading import Event

    from ocore.recorder import Recorder

SECONDS = 60.0


class WaitingDoor(FakeDoor):
    """A library whose run goes on until it is cancelled."""

    def play(self, recorder: Recorder, cancel: Event | None) -> None:
        """Begin, then wait."""
        super().play(recorder, cancel)
        recorder.step_started("proxy", NOW)
        recorder.task_event(TaskEvent("proxy", "Pull the image", "started", "", NOW))
        print("waiting", flush=True)  # noqa: T201 - the test waits for it
        assert cancel
        # As the library does: a wait in the thread that the signal interrupts could meet its handler at a lock.
        deadline = time.monotonic() + SECONDS
        while not cancel.is_set():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.result = result(RunStatus.CANCELLED, Failure(ErrorCode.CANCELLED, "The run was cancelled."))


class StubbornDoor(WaitingDoor):
    """A library that does not heed being cancelled."""

    def play(self, recorder: Recorder, cancel: Event | None) -> None:
        """Go on."""
        super().play(recorder, cancel)
        print("still here", flush=True)  # noqa: T201 - the test waits for it
        time.sleep(SECONDS)


DOORS = {"quick": FakeDoor, "waiting": WaitingDoor, "stubborn": StubbornDoor}


def run_door(name: str, *words: str) -> int:
    """Run the command line with a door of this module; the process below calls it."""
    return main(["provision", "h", "--key", "-", *words], door=DOORS[name](), ask=str)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment that leads to nobody's own pins."""
    return os.environ | {"XDG_STATE_HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "100"}


def command(door: str, *words: str) -> list[str]:
    """Return the command for a process with this door."""
    called = ", ".join(map(repr, (door, *words)))
    # Also where the tests themselves run under nohup.
    return [
        "env",
        "--default-signal=HUP",
        sys.executable,
        "-c",
        f"import sys; from {__name__} import run_door; sys.exit(run_door({called}))",
    ]


@contextlib.contextmanager
def process(door: str, environment: dict[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process whose key comes by standard input; end it in every case."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command(door, *words), stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
    ) as started:
        try:
            assert started.stdin
            started.stdin.write(private_key("ed25519"))
            started.stdin.close()
            started.stdin = None
            yield started
        finally:
            started.kill()


def wait_for(stream: object, words: str) -> None:
    """Read lines until one has these words."""
    for line in stream:  # type: ignore[attr-defined]
        if words in line:
            return
    raise AssertionError(f"never said: {words}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_cancels_the_run(environment: dict[str, str], number: signal.Signals) -> None:
    """The run is told to stop, the person is told that it stops, and the exit code is 130."""
    with process("waiting", environment) as started:
        wait_for(started.stdout, "waiting")
        started.send_signal(number)
        _, err = started.communicate(timeout=SECONDS)
    assert started.returncode == 130
    assert err.startswith("Stopping the run")
    assert "ocore: The run was cancelled. [cancelled]" in err


def test_the_second_signal_leaves_at_once(environment: dict[str, str]) -> None:
    """Whoever insists does not wait for the cleaning up."""
    with process("stubborn", environment) as started:
        wait_for(started.stdout, "waiting")
        started.send_signal(signal.SIGINT)
        wait_for(started.stdout, "still here")
        began = time.monotonic()
        started.send_signal(signal.SIGINT)
        _, err = started.communicate(timeout=SECONDS)
    assert started.returncode == 130
    assert time.monotonic() - began < SECONDS / 4
    assert "Left at once." in err


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_closed_pipe_stops_nothing(environment: dict[str, str], words: tuple[str, ...]) -> None:
    """Where nobody reads any more, the run goes on to its end and nothing is complained of."""
    with process("quick", environment, *words) as started:
        assert started.stdout
        started.stdout.close()
        started.stdout = None
        _, err = started.communicate(timeout=SECONDS)
    assert started.returncode == 0
    assert err == ""


def _on_terminal(door: str, environment: dict[str, str], *, interrupt: bool = False) -> tuple[int, str]:
    """Run a process whose standard output is a terminal; return its exit code and what it drew."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(door), stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, env=environment, text=True
    ) as started:
        os.close(theirs)
        assert started.stdin
        started.stdin.write(private_key("ed25519"))
        started.stdin.close()
        drawn = b""
        # A terminal that is closed at the other side reads as an error.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 65536):
                drawn += part
                if interrupt and b"waiting" in drawn:
                    started.send_signal(signal.SIGINT)
                    interrupt = False
        os.close(ours)
        code = started.wait(SECONDS)
    return code, drawn.decode()


def test_a_terminal_shows_the_list_of_steps(environment: dict[str, str]) -> None:
    """The list is drawn with durations, steps to come are there from the beginning, and the cursor comes back."""
    code, drawn = _on_terminal("quick", environment)
    assert code == 0
    for words in ("preflight", "2 min 05 s", "Capacity  4 instance(s)", "Host key ssh-ed25519"):
        assert words in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")
    assert "\nSteps\r\n" not in drawn


def test_a_terminal_shows_that_the_run_is_stopping(environment: dict[str, str]) -> None:
    """After Ctrl-C the list stays, with the task that was running, and says that it is stopping."""
    code, drawn = _on_terminal("waiting", environment, interrupt=True)
    assert code == 130
    assert "Pull the image" in drawn
    assert "Stopping; Ctrl-C once more leaves at once." in drawn
