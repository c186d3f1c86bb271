"""Runs that a test stops in the middle of a long task, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.hosts import Host

# A length that no other program sleeps for.
LONG = "sleep 45.0417"
HOOK = "/etc/apt/apt.conf.d/99-ocore-test-slow"
SIGNALS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}
CLOCKS = {"run time-out": "run_timeout", "step time-out": "step_timeout"}


@contextlib.contextmanager
def long_task(host: Host, configuration: str = f'DPkg::Pre-Invoke {{"{LONG}";}};') -> Iterator[None]:
    """Make installing packages a long task, by a line of apt's configuration, and give it something to install."""
    # What an earlier test left at work is not this one's matter.
    host.exec(f"pkill -KILL -f '^(apt-get|{LONG})'; dpkg --configure -a", check=False)
    # A run that was stopped may have left the package half installed, and what was killed its lock for a moment.
    host.exec("timeout 60 sh -c 'until dpkg --purge --force-remove-reinstreq curl; do sleep 1; done' 2>&1")
    host.write(HOOK, configuration + "\n")
    try:
        yield
    finally:
        host.exec(f"rm -f {HOOK}")


def long_task_began(host: Host) -> bool:
    """Tell whether the long task goes on."""
    return bool(host.exec(f"pgrep -f '^{LONG}'", check=False).stdout)


class Stoppable:
    """A run in a process of its own, and how to stop it."""

    def __init__(self, program: subprocess.Popen[bytes], seconds: float) -> None:
        self.lines: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self._program = program
        self._seconds = seconds
        self._begun = time.monotonic()
        self.step_began = 0.0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._program.stdout is not None
        for text in self._program.stdout:
            if not text.startswith(b"{"):
                self.texts.append(text.decode(errors="replace"))
                continue
            line = json.loads(text)
            if line.get("began") == "packages":
                self.step_began = time.monotonic()
            self.lines.append(line)

    def stop(self, way: str) -> None:
        """Stop it, or wait until the clock that was set does so."""
        if way == "cancel":
            assert self._program.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._program.stdin.write(b"\n")
                self._program.stdin.flush()
        elif way in SIGNALS:
            self._program.send_signal(SIGNALS[way])
        else:
            clock = self._begun if way == "run time-out" else self.step_began
            time.sleep(max(0.0, clock + self._seconds - time.monotonic()))

    def ended(self) -> bool:
        """Tell whether the process has ended and all of its output is here."""
        return self._program.poll() is not None and not self._reader.is_alive()

    @property
    def last(self) -> dict[str, Any]:
        """The last line for machines: how the run ended."""
        return self.lines[-1] if self.lines else {}

    @property
    def code(self) -> str | None:
        """The code of the error that the run told."""
        error = self.last.get("error")
        return error["code"] if isinstance(error, dict) else self.last.get("code")

    def message_of(self, step: str) -> str:
        """Return the message with which a step ended."""
        found = [line["message"] for line in self.lines if line.get("step") == step and line.get("status")]
        return found[0] if found else ""
