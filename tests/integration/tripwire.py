"""A command that leaves a trace where it is run, and the look for such traces: in a folder that else stays empty.

In a run's sandbox the folder cannot be written to, so that the command also connects to this machine, which is seen
from within any sandbox.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ocore import content

if TYPE_CHECKING:
    from tests.hosts import Host

_TRIP = """#!/bin/bash
: > {traces}/$$
exec 3<> /dev/tcp/127.0.0.1/{port}
"""


class Tripwire:
    """One such command.

    Attributes:
        run: the command: the path of a program, without anything that needs to be quoted.

    """

    def __init__(self) -> None:
        """Make it in a folder that a run's sandbox shows: that of the product's own files."""
        base = content.root() / ".dev"
        base.mkdir(exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="tripwire-", dir=base))
        self._traces = self._folder / "traces"
        self._traces.mkdir()
        self.run = str(self._folder / "trip")
        self._connections: list[str] = []
        self._hosts: list[Host] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.05)
        port = self._listening.getsockname()[1]
        self._program = _TRIP.format(traces=self._traces, port=port)
        Path(self.run).write_text(self._program, encoding="ascii")
        Path(self.run).chmod(0o755)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, where = self._listening.accept()
                connection.close()
                self._connections.append(f"a connection from {where}")

    @property
    def template(self) -> str:
        """A template that runs the command where it is templated."""
        return f'{{{{ lookup("pipe", "{self.run}") }}}}'

    def put_on(self, host: Host) -> None:
        """Have the same command on a test host."""
        host.exec(f"mkdir -p -m 0777 {self._traces} && chmod 0755 {self._folder}")
        host.write(self.run, self._program, mode="0755")
        self._hosts.append(host)

    def traces(self) -> list[str]:
        """Return what was left; nothing but the command itself and its empty folder is expected."""
        time.sleep(0.1)  # for one that was left in the last moment
        found = [str(one) for one in self._folder.rglob("*") if str(one) not in {self.run, str(self._traces)}]
        for host in self._hosts:
            listed = host.exec(f"find {self._folder} -mindepth 1").stdout.splitlines()
            found += [f"{one} on {host.name}" for one in listed if one not in {self.run, str(self._traces)}]
        return found + self._connections

    def __enter__(self) -> Self:
        """Begin to use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing of it."""
        self._stop.set()
        self._thread.join()
        self._listening.close()
        shutil.rmtree(self._folder)
