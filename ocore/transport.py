"""The one seam to the outside world: how a run reaches a server. `ocore.testing` ships a double of it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from ocore import sandbox
from ocore.intake import address
from ocore.ssh import hostkey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocore.errors import Failure
    from ocore.intake.address import Reach
    from ocore.intake.hostkeys import HostKey
    from ocore.models import Server

TICK: Final = 0.1
MAX_LINE: Final = 512 * 1024
END_SECONDS: Final = 5.0
# How often in the time of its leash a run's process hears of us.
_BEATS: Final = 5


class Process(Protocol):
    """A sandboxed process that takes orders and answers in lines."""

    isolation: sandbox.Isolation

    def order(self, order: dict[str, Any]) -> None:
        """Send an order."""

    def answers(self) -> Iterator[dict[str, Any] | None]:
        """Yield answers as they come, None whenever a short time passed without one, and end with the process."""

    def complaint(self) -> str:
        """Return the end of what the process printed to standard error."""

    def end(self) -> None:
        """End the process and everything it started; return when all of it is gone. May be called twice."""


class Transport(Protocol):
    """How a run reaches its server."""

    def resolve(self, server: Server, allow: Reach) -> str | Failure:
        """Return the address to connect to."""

    def host_key(self, server: Server, where: str) -> HostKey | Failure:
        """Return the key that the host shows, before any credential is near the connection."""

    def start(self, server: Server) -> Process:
        """Start the process that will log in."""


class SandboxedProcess:
    """The real thing: `ocore.inside` in namespaces of its own."""

    def __init__(self, agent_socket: str | None, leash: float | None = None) -> None:
        self.isolation = sandbox.isolation()
        # In memory, as everything of a run is.
        self._stderr: IO[bytes] = os.fdopen(os.memfd_create("complaints"), "w+b")
        self._process = sandbox.spawn(agent_socket=agent_socket, stderr=self._stderr, leash=leash)
        self._sending = threading.Lock()
        self._ending = threading.Event()
        if leash is not None:
            threading.Thread(target=self._beat, args=(leash / _BEATS,), name="leash", daemon=True).start()

    def order(self, order: dict[str, Any]) -> None:
        """Send an order; one to a process that has died is noticed when its answers end."""
        self._send(json.dumps(order).encode())

    def _beat(self, seconds: float) -> None:
        """Be heard, for as long as this process is at work: one that is stopped says nothing."""
        while not self._ending.wait(seconds):
            self._send(b"")

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        with self._sending, contextlib.suppress(BrokenPipeError):
            if not self._process.stdin.closed:
                self._process.stdin.write(line + b"\n")
                self._process.stdin.flush()

    def answers(self) -> Iterator[dict[str, Any] | None]:
        """Yield answers; see `Process`."""
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        descriptor = self._process.stdout.fileno()
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while True:
                if not selector.select(TICK):
                    yield None
                    continue
                chunk = os.read(descriptor, 65536)
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > MAX_LINE:
                    return
                for line in lines:
                    yield json.loads(line)

    def complaint(self) -> str:
        """Return the end of what the process printed to standard error."""
        if self._stderr.closed:
            return ""
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 2000))
        return self._stderr.read().decode("utf-8", "replace")

    def end(self) -> None:
        """End the process and all that it started."""
        self._ending.set()
        # A sandbox that is killed while it starts may leave its inside behind; that one ends with its orders.
        if self._process.stdin is not None:
            with self._sending, contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._process.poll() is None:
            # With namespaces the kernel ends the rest; without, the supervisor does, and needs to be asked.
            if self.isolation == "full":
                _kill_sandbox(self._process.pid)
            else:
                self._process.terminate()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._wait_for_the_last()
        for stream in (self._process.stdout, self._stderr):
            if stream is not None:
                stream.close()

    def _wait_for_the_last(self) -> None:
        """Wait until the process inside is gone, too: it ends a moment after the one that was killed."""
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        if self._process.stdout.closed:
            return
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            deadline = time.monotonic() + END_SECONDS
            while selector.select(max(0.0, deadline - time.monotonic())):
                if not os.read(self._process.stdout.fileno(), 65536):
                    return


def _kill_sandbox(pid: int) -> None:
    """Kill bubblewrap and, by name, the process that it has made inside.

    The inner one dies with the outer one, but for its first moments, in which it would wait for ever for a parent that
    is gone.
    """
    os.kill(pid, signal.SIGSTOP)  # so that it makes no more of them
    inside = []
    with contextlib.suppress(OSError):
        inside = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    for one in (pid, *map(int, inside)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


class SshTransport:
    """OpenSSH, and Ansible over it.

    Args:
        leash: seconds without a sign of this process, as when it is stopped (SIGSTOP), after which a run's processes
            end by themselves, for another process that may make the run then. Never where None.

    """

    def __init__(self, leash: float | None = None) -> None:
        self._leash = leash

    def resolve(self, server: Server, allow: Reach) -> str | Failure:
        """Resolve the host, check the address, and check that an SSH server greets there."""
        found = address.resolve(server.host, server.port, allow)
        if not isinstance(found, str):
            return found
        return hostkey.greet(found, server.port) or found

    def host_key(self, server: Server, where: str) -> HostKey | Failure:
        """Read the host key: the pinned type first, or the one with the expected fingerprint."""
        if server.host_key is None and server.expected_fingerprint:
            return hostkey.find(where, server.port, server.user, server.expected_fingerprint)
        preferred = server.host_key.type if server.host_key else None
        return hostkey.read(where, server.port, server.user, preferred)

    def start(self, server: Server) -> Process:
        """Start the sandboxed process."""
        return SandboxedProcess(server.credentials.agent_socket, self._leash)
