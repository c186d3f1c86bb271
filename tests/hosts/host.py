"""One disposable server: a container that boots systemd and sshd, and what a test may do to it."""

from __future__ import annotations

import dataclasses
import json
import shlex
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hosts import emulation, engine, state
from tests.hosts.engine import HostError

if TYPE_CHECKING:
    import subprocess

BOOT_SECONDS = 60.0


@dataclass(frozen=True)
class Host:
    """A running test host, and how to reach it.

    `exec` and the like go through the engine, not through SSH, so they work whatever the host's sshd or sudo allows.
    """

    name: str
    suite: str
    variant: str
    container: str
    ssh_port: int
    http_port: int
    address: str = "127.0.0.1"
    user: str = "root"
    password: str | None = dataclasses.field(default=None, repr=False)
    sudo_password: str | None = dataclasses.field(default=None, repr=False)
    key_file: Path | None = None
    architecture: str | None = None

    @property
    def target(self) -> str:
        """Return the host as the command line takes it: USER@HOST:PORT."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.user}@{address}:{self.ssh_port}"

    def exec(
        self, command: str, *, check: bool = True, stdin: str | None = None, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the host as root and return what it printed."""
        interactive = ["--interactive"] if stdin is not None else []
        arguments = ["exec", *interactive, self.container, "sh", "-c", command]
        result = engine.run(*arguments, stdin=stdin, check=False, seconds=seconds)
        if check and result.returncode != 0:
            output = f"{result.stdout}{result.stderr}".strip()[-2000:]
            raise HostError(f"{self.name}: {command!r} ended with {result.returncode}: {output}")
        return result

    def read(self, path: str) -> str:
        """Return the text of a file in the host."""
        return self.exec(f"cat -- {shlex.quote(path)}").stdout

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file in the host; its text is never part of a command line."""
        quoted = shlex.quote(path)
        self.exec(f"umask 077 && cat > {quoted} && chmod {mode} {quoted}", stdin=text)

    def disown(self) -> None:
        """Forget whose server this is, so that another test's service may have it."""
        self.exec("rm -f /etc/ocore/server.json")

    def copy_in(self, source: Path, destination: str) -> None:
        """Copy a file or directory of this machine into the host."""
        engine.run("cp", str(source), f"{self.container}:{destination}")

    def kill(self) -> None:
        """Cut the host's power."""
        engine.run("kill", self.container)

    def start(self) -> None:
        """Bring a killed host back, on the same ports, and wait until it has booted."""
        # Its connections break a moment before the engine knows that it is dead, and starting a live one does nothing.
        engine.run("wait", self.container, seconds=30)
        engine.run("start", self.container)
        self.wait_until_booted()

    def pause(self) -> None:
        """Freeze the host: connections stay open and nothing answers."""
        engine.run("pause", self.container)

    def unpause(self) -> None:
        """Let a frozen host go on."""
        engine.run("unpause", self.container)

    def running(self) -> bool:
        """Tell whether the host is up (a paused one is not)."""
        template = "{{.State.Running}} {{.State.Paused}}"
        return engine.run("inspect", "--format", template, self.container).stdout.split() == ["true", "false"]

    def remove(self) -> None:
        """Remove the host and everything it wrote."""
        engine.run("rm", "--force", "--volumes", self.container, check=False)
        engine.run("volume", "rm", "--force", self.container, check=False)
        self.note().unlink(missing_ok=True)

    def wait_until_booted(self) -> None:
        """Wait until systemd says that the host is up and its sshd greets."""
        seconds = emulation.BOOT_SECONDS if emulation.needed(self.architecture) else BOOT_SECONDS
        deadline = time.monotonic() + seconds
        said = ""
        while time.monotonic() < deadline:
            result = self.exec("systemctl is-system-running", check=False)
            said = result.stdout.strip() or result.stderr.strip()
            if said in {"running", "degraded"} and self.greets():
                return
            time.sleep(0.2)
        failed = self.exec("systemctl --failed --no-legend --plain", check=False).stdout.strip()
        raise HostError(f"{self.name} did not boot in {seconds:.0f} s: {said} {failed}")

    def greets(self) -> bool:
        """Tell whether an SSH server greets at the host's published port."""
        try:
            with socket.create_connection((self.address, self.ssh_port), timeout=2) as connection:
                connection.settimeout(2)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def change_key(self) -> None:
        """Give the host new host keys, as if another machine answered at its address."""
        self.exec("rm -f /etc/ssh/ssh_host_* && systemctl restart ssh")
        self.wait_until_booted()

    def fingerprint(self, kind: str = "ed25519") -> str:
        """Return the SHA256 fingerprint of one of the host's keys, as the host itself knows it."""
        return self.exec(f"ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub").stdout.split()[1]

    def note(self) -> Path:
        """Return the file that remembers this host between two commands."""
        return state.directory("hosts") / f"{self.name}.json"

    def save(self) -> None:
        """Remember this host; its passwords are in there, so only this user can read the file."""
        values = dataclasses.asdict(self) | {"key_file": str(self.key_file) if self.key_file else None}
        state.write_private(self.note(), json.dumps(values, indent=2) + "\n")

    @classmethod
    def load(cls, note: Path) -> Host:
        """Return the host that a file remembers."""
        values = json.loads(note.read_text(encoding="utf-8"))
        key = values.pop("key_file")
        return cls(**values, key_file=Path(key) if key else None)
