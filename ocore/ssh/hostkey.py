"""Reading a server's host key before any credential is near the connection."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import Final

from ocore import patience
from ocore.errors import ConfigError, ErrorCode, Failure
from ocore.intake.hostkeys import TYPES, HostKey
from ocore.intake.text import plain
from ocore.ssh import options
from ocore.ssh.words import meaning

GREETING: Final = b"SSH-"
# RFC 4253 lets a server send other lines before its greeting; no one that we manage needs more than this.
MAX_GREETING: Final = 8 * 1024
PROBE_SECONDS: Final = 20.0
_END_SECONDS: Final = 2.0
# What ssh ends with where it failed itself; everything else is the status of the command.
_SSH_FAILED: Final = 255
# What sshd says instead of greeting: to one connection too many at once, or to who often came and did not log in.
TURNED_AWAY: Final = (b"Exceeded MaxStartups", b"Not allowed at this time")


def greet(address: str, port: int) -> Failure | None:
    """Connect, and check that an SSH server answers; the words of a failure name host and port only."""
    where = f"{address} port {port}"
    try:
        received = patience.answer_of(lambda: _first_words(address, port), 2 * options.CONNECT_SECONDS)
    except ConnectionRefusedError:
        return Failure(ErrorCode.CONNECTION_REFUSED, f"Nothing listens at {where}.")
    except TimeoutError:
        return Failure(ErrorCode.CONNECT_TIMEOUT, f"{where} did not answer within {options.CONNECT_SECONDS} s.")
    except ConnectionError:
        return Failure(ErrorCode.NOT_SSH, f"{where} closed the connection before greeting.")
    except OSError as error:
        return Failure(ErrorCode.CONNECT_TIMEOUT, f"{where} cannot be reached: {error.strerror}.")
    return None if _greeted(received) else _no_greeting(received, where)


def _no_greeting(received: bytes, where: str) -> Failure:
    if received.startswith(TURNED_AWAY):
        said = plain(received.decode(errors="replace"), 100)
        return Failure(ErrorCode.CONNECTION_REFUSED, f"The SSH server at {where} turns us away for a while: {said}.")
    return Failure(ErrorCode.NOT_SSH, f"What answers at {where} does not greet as an SSH server does.")


def _first_words(address: str, port: int) -> bytes:
    """Return what is received until the greeting, the end, or too much, within the time limit."""
    deadline = time.monotonic() + options.CONNECT_SECONDS
    received = b""
    with socket.create_connection((address, port), timeout=options.CONNECT_SECONDS) as connection:
        while not _greeted(received) and len(received) <= MAX_GREETING:
            # A limit for the whole: one that restarts with every byte never ends for a server that trickles.
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            more = connection.recv(256)
            if not more:
                break
            received += more
    return received


def _greeted(received: bytes) -> bool:
    return any(line.startswith(GREETING) for line in received.split(b"\n"))


def read(
    address: str, port: int, user: str, preferred: str | None = None, deadline: float | None = None
) -> HostKey | Failure:
    """Return the host key that the server shows; of several, the one of the preferred type.

    Args:
        address: where the server is.
        port: its port.
        user: the name that ssh would log in with.
        preferred: a type of key.
        deadline: when it must have been shown (monotonic clock); `PROBE_SECONDS` from now where None.

    """
    deadline = time.monotonic() + PROBE_SECONDS if deadline is None else deadline
    # In memory: a run that is killed leaves no file. ssh closes what it inherits, and so opens it as ours.
    descriptor = os.memfd_create("known_hosts")
    try:
        flags = options.probe_flags(f"/proc/{os.getpid()}/fd/{descriptor}", preferred)
        said = _ask(address, port, user, flags, deadline)
        written = os.pread(descriptor, MAX_GREETING, 0)
    finally:
        os.close(descriptor)
    if isinstance(said, Failure):
        return said
    if written and not said.proven:
        return Failure(
            meaning(said.words),
            f"{address} port {port} showed a host key, and the connection ended before it proved that the key is its "
            f"own: {said.words or 'the connection was closed'}.",
        )
    with contextlib.suppress(ConfigError, UnicodeDecodeError, ValueError):
        _, kind, blob = written.decode("ascii").split()[:3]
        return HostKey(kind, blob)
    code = meaning(said.words)
    if code is ErrorCode.CONNECTION_LOST:
        code = ErrorCode.NOT_SSH
    return Failure(
        code, f"No host key could be read from {address} port {port}: {said.words or 'the connection was closed'}."
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """What ssh printed, and how it ended."""

    words: str
    status: int

    @property
    def proven(self) -> bool:
        """Whether the host has signed with its key.

        ssh writes a key down before it looks at the signature. What comes after that is the login: it was refused, or
        it was let in without any credential, so that the status is the command's.
        """
        return meaning(self.words) is ErrorCode.AUTH_DENIED or 0 <= self.status < _SSH_FAILED


def _ask(address: str, port: int, user: str, flags: list[str], deadline: float) -> _Said | Failure:
    """Let ssh connect and go no further than the key exchange; return what it said."""
    command = ["ssh", *flags, "-p", str(port), "-l", user, address, "true"]
    if shutil.which("setpriv"):
        # It is outside the sandbox: so it is told to end with the thread that waits for it.
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    quiet = subprocess.DEVNULL
    try:
        asking = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=subprocess.PIPE)
    except FileNotFoundError:
        return Failure(ErrorCode.INTERNAL, "The OpenSSH client (ssh) is not installed on this machine.")
    with asking:
        try:
            said = _said(asking, deadline)
            with contextlib.suppress(subprocess.TimeoutExpired):
                asking.wait(_END_SECONDS if said is not None else 0)
        finally:
            asking.kill()
    if said is not None:
        return _Said(plain(said.decode(errors="replace"), 300).rstrip("."), asking.returncode)
    return Failure(ErrorCode.CONNECT_TIMEOUT, f"{address} port {port} stopped answering during the key exchange.")


def _said(asking: subprocess.Popen[bytes], deadline: float) -> bytes | None:
    """Return what a program prints to standard error until it ends, or says too much; None where it takes too long."""
    assert asking.stderr is not None  # noqa: S101 - for the type checker
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(asking.stderr, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            patience.check()
            if selector.select(patience.TICK):
                more = os.read(asking.stderr.fileno(), 4096)
                said += more
                if not more or len(said) > MAX_GREETING:
                    return said
    return None


def find(address: str, port: int, user: str, fingerprint: str) -> HostKey | Failure:
    """Return the server's key that has a fingerprint; a server may have a key of each type, and shows one at a time."""
    seen: list[HostKey] = []
    deadline = time.monotonic() + PROBE_SECONDS
    for kind in TYPES:
        key = read(address, port, user, kind, deadline)
        if isinstance(key, Failure):
            return key
        if key.fingerprint == fingerprint:
            return key
        if key.type != kind and key in seen:
            continue
        seen.append(key)
    shown = ", ".join(sorted({f"{key.fingerprint} ({key.type})" for key in seen}))
    return Failure(ErrorCode.HOST_KEY_CHANGED, f"Expected the host key {fingerprint}; the host shows {shown}.")
