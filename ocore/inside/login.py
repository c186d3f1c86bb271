"""Logging in with OpenSSH, becoming root, and one shell probe: what must be known before Ansible can start."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ocore.intake.hostkeys import HostKey
from ocore.ssh import options

if TYPE_CHECKING:
    from pathlib import Path

    from ocore.inside.channel import Channel

MAX_OUTPUT: Final = 64 * 1024

# Ends what runs left on the server, one run's or everybody's: processes by the cookie in their environment (or, for
# the shells around them, in their command line). They are interrupted first, since Python then removes the folder that
# a module was unpacked to; what goes on is killed, and its folder is removed unless somebody else's Ansible is at work,
# too. The brackets keep the patterns from finding this very script.
DRAIN: Final = r"""
find_left() {
  { grep -lsz '^OCORE_RU[N]=@RUN@' /proc/[0-9]*/environ; grep -lsz 'OCORE_RU[N]=@RUN@' /proc/[0-9]*/cmdline; } |
    sed 's,^/proc/,,; s,/.*,,' | sort -u | grep -vx $$
}
left=$(find_left)
if [ -n "$left" ]; then
  for signal in INT TERM KILL KILL; do
    rest=$(find_left); [ -n "$rest" ] || break
    kill -$signal $rest 2>/dev/null
    for wait in 1 2 3 4 5 6 7 8; do [ -n "$(find_left)" ] || break 2; sleep 0.1; done
  done
  grep -qsz -e 'AnsiballZ[_]' -e '&& sleep [0]' /proc/[0-9]*/cmdline || rm -rf /tmp/ansible_*_payload_*
  echo "ocore drained $(echo "$left" | wc -w)"
  rest=$(find_left); [ -z "$rest" ] || echo "ocore undrained $(echo "$rest" | wc -w)"
fi
rm -rf /root/.ocore/@RUN@
"""

# A Python without these modules (Debian's minimal one) cannot run Ansible's.
PYTHON: Final = 'import sys, json, zipfile; print(sys.executable, "%d.%d" % sys.version_info[:2])'

# Asks everything in one go: every round trip counts on a slow network. Answers are lines "ocore NAME VALUE".
PROBE: Final = r"""
LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
uid=$(id -u); echo "ocore uid $uid"
if [ "$uid" = 0 ]; then ROOT=""; echo "ocore become root"
elif ! command -v sudo >/dev/null 2>&1; then echo "ocore become missing"; exit 0
elif sudo -n true 2>/dev/null; then ROOT="sudo -n"; echo "ocore become free"
elif [ "$1" = password ]; then ROOT="sudo -S -p ''"
else echo "ocore become password"; exit 0
fi
exec 3>&1
if ! said=$( { eval "$ROOT /bin/sh -c \"\$2\"" >&3; } 2>&1 ); then
  echo "ocore refused $(echo "$said" | tr '\n' ' ')"; exit 0
fi
[ "$ROOT" != "sudo -S -p ''" ] || echo "ocore become given"
[ -z "$3" ] || rm -rf "$HOME/$3"
for python in /usr/bin/python3 python3 /usr/libexec/platform-python python3.13 python3.12 python3.11; do
  found=$("$python" -c "$4" 2>/dev/null) || continue
  echo "ocore python $found"; break
done
echo "ocore end 1"
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A connection that stands: what Ansible needs to use it too.

    Attributes:
        ssh_flags: ssh's options, without the control socket.
        control: path of the control socket.
        command: the whole ssh command, to which a remote command is added.
        folder: in which Ansible keeps its files on the server, below the user's home.

    """

    ssh_flags: list[str]
    control: str
    command: list[str]
    folder: str

    def tidy(self) -> None:
        """Remove the folder in which Ansible kept its files on the server."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            quiet = subprocess.DEVNULL
            subprocess.run(
                [*self.command, f'rm -rf "$HOME/{self.folder}"; rmdir "$HOME/.ocore"'],
                stdin=quiet,
                stdout=quiet,
                stderr=quiet,
                timeout=5,
                check=False,
            )


def _start_agent(work: Path, private_key: str) -> str:
    """Give the key to an ssh-agent of this run's own: so it is in no file, not even in memory-backed ones."""
    socket = work / "agent"
    subprocess.run(["ssh-agent", "-a", socket], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["ssh-add", "-q", "-"], input=private_key.encode(), env=os.environ | {"SSH_AUTH_SOCK": str(socket)}, check=True
    )
    return str(socket)


def write_askpass(work: Path, order: dict[str, Any]) -> dict[str, str]:
    """Write a password and the program that tells it to ssh; return ssh's environment, empty where a key logs in.

    Before anything is forked beside it, as with every program that is written (see `Player`). The work folder goes
    with the run.
    """
    if order.get("private_key") or order.get("agent_socket"):
        return {}
    secret, program = work / "password", work / "askpass"
    secret.write_text(order["password"], encoding="utf-8")
    program.write_text(f"#!/bin/sh\nexec cat {shlex.quote(str(secret))}\n", encoding="utf-8")
    program.chmod(0o700)
    return {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}


def _read_all(stream: Any, most: int, into: list[bytes], stop: Any) -> None:
    """Read a stream to its end, and close it; one that says more than `most` bytes is cut off."""
    total = 0
    with stream:
        while chunk := stream.read1(8192):
            total += len(chunk)
            into.append(chunk[: max(0, most - (total - len(chunk)))])
            if total > most:
                stop()
                return


def _run(command: list[str], feed: bytes, env: dict[str, str]) -> tuple[int, bytes, bytes]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | env
    )
    assert process.stdin is not None  # noqa: S101 - for the type checker
    out: list[bytes] = []
    err: list[bytes] = []
    readers = [
        threading.Thread(target=_read_all, args=(stream, MAX_OUTPUT, kept, process.kill), daemon=True)
        for stream, kept in ((process.stdout, out), (process.stderr, err))
    ]
    for reader in readers:
        reader.start()
    try:
        process.stdin.write(feed)
        process.stdin.close()
    except BrokenPipeError:
        pass
    code = process.wait()
    readers[0].join(timeout=5)
    # After a good login the connection's master keeps standard error open for as long as it lives.
    readers[1].join(timeout=2 if code else 0)
    return code, b"".join(out), b"".join(err)


def parse(output: bytes) -> dict[str, str]:
    """Return the probe's answers; anything else that a login shell prints is passed over."""
    answers: dict[str, str] = {}
    for line in output.decode("utf-8", "replace").splitlines():
        words = line.split(" ", 2)
        if len(words) == 3 and words[0] == "ocore":  # noqa: PLR2004 - marker, name, value
            answers.setdefault(words[1], words[2].strip()[:500])
    return answers


def _draining(order: dict[str, Any]) -> tuple[str, str]:
    """Return the shell command that ends left-overs, and the folder below home that goes with them."""
    if order["drain"] == "none":
        return "true", ""
    run = order["run"] if order["drain"] == "own" else ""
    return DRAIN.replace("@RUN@", run), f".ocore/{run}"


def log_in(work: Path, order: dict[str, Any], askpass: dict[str, str], channel: Channel) -> Session:
    """Log in and probe, and say what was found (`login`, with `code` 0) or how ssh ended."""
    known_hosts, control = work / "known_hosts", work / "c"
    key = HostKey.parse(order["host_key"])
    known_hosts.write_text(options.known_hosts_line(key), encoding="ascii")
    agent = order.get("agent_socket")
    if order.get("private_key"):
        agent = _start_agent(work, order["private_key"])
    flags = options.session_flags(known_hosts=str(known_hosts), key_type=key.type, agent=agent)
    becoming = order.get("becoming")
    drain, left = _draining(order)
    arguments = [
        "password" if becoming else "none",
        drain,
        left,
        PYTHON,
    ]
    remote = shlex.join(["exec", "/bin/sh", "-c", PROBE, "sh", *arguments])
    reach = ["-p", str(order["port"]), "-l", order["user"], order["address"]]
    command = ["ssh", *flags, "-o", f"ControlPath={control}", *reach]
    feed = f"{becoming}\n".encode() if becoming else b""
    code, out, err = _run([*command, remote], feed, askpass)
    channel.say({"type": "login", "code": code, "answers": parse(out), "stderr": err[:4000].decode("utf-8", "replace")})
    return Session(flags, str(control), command, f".ocore/{order['run']}")
