"""Doubles for programs that use oCore: runs without a server, replayed from recorded streams.

    result = ocore.provision(server, transport=ReplayTransport(Path("docker_fails.jsonl")))

A recording holds what the sandboxed process answered, line by line, after a first line with the host key. It is made
by running once against a real server through `RecordingTransport`.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from ocore.intake.hostkeys import HostKey
from ocore.transport import Process, SshTransport, Transport

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocore.errors import Failure
    from ocore.intake.address import Reach
    from ocore.models import Server
    from ocore.sandbox import Isolation

# Stands for a run's nonce in a recording, since every run has its own.
NONCE: Final = "@nonce@"


class ReplayTransport:
    """Plays a recording to each run that goes through it.

    Attributes:
        orders: every order that runs gave, for tests to look at; credentials are among them.

    """

    def __init__(self, recording: Path | Iterable[str], *, hang: bool = False, own_keys: bool = False) -> None:
        """Take a recording: a file, or its lines.

        With `hang`, a run finds no end and waits until it is stopped. With `own_keys`, each address and port shows a
        host key of its own, as machines do, and not the recorded one.
        """
        lines = recording.read_text(encoding="utf-8").splitlines() if isinstance(recording, Path) else list(recording)
        first, *self._answers = [json.loads(line) for line in lines]
        self._key = HostKey.parse(first["host_key"])
        self._hang = hang
        self._own_keys = own_keys
        self.orders: list[dict[str, Any]] = []

    def resolve(self, server: Server, allow: Reach) -> str | Failure:  # noqa: ARG002 - nothing is reached
        """Return the host itself, or an address that always stands for its name."""
        return machine_address(server.host)

    def host_key(self, server: Server, where: str) -> HostKey | Failure:
        """Return the recorded key, or the address' own."""
        return machine_key(f"{where} {server.port}") if self._own_keys else self._key

    def start(self, server: Server) -> Process:  # noqa: ARG002 - as recorded
        """Start to play the recording."""
        return _ReplayedProcess(self._answers, self.orders, hang=self._hang)


def machine_address(host: str) -> str:
    """Return an address that is always the same for the same name, from the range for benchmarks (RFC 2544)."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        number = int.from_bytes(hashlib.sha256(host.encode()).digest()[:2], "big")
        return str(ipaddress.IPv4Address("198.18.0.0") + number)


def machine_key(machine: str) -> HostKey:
    """Return a key that is always the same for the same machine; nobody has the private one."""
    name, point = b"ssh-ed25519", hashlib.sha256(machine.encode()).digest()
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (name, point))
    return HostKey(name.decode(), base64.b64encode(blob).decode())


class _ReplayedProcess:
    def __init__(self, answers: list[dict[str, Any]], orders: list[dict[str, Any]], *, hang: bool) -> None:
        self.isolation: Isolation = "replayed"
        self._answers = answers
        self._orders = orders
        self._hang = hang
        self._nonce = NONCE
        self._waiting = iter(answers)
        self._ended = False

    def order(self, order: dict[str, Any]) -> None:
        self._orders.append(order)
        self._nonce = order.get("variables", {}).get("ocore_nonce", self._nonce)

    def answers(self) -> Iterator[dict[str, Any] | None]:
        for answer in self._waiting:
            yield with_nonce(answer, NONCE, self._nonce)
        while self._hang and not self._ended:
            time.sleep(0.01)
            yield None

    def complaint(self) -> str:
        return ""

    def end(self) -> None:
        self._ended = True


class RecordingTransport:
    """Goes through another transport, and writes down what a `ReplayTransport` needs."""

    def __init__(self, file: IO[str], inner: Transport | None = None) -> None:
        """Write to an open file; use the real transport where no other is given."""
        self._file = file
        self._inner = inner or SshTransport()

    def resolve(self, server: Server, allow: Reach) -> str | Failure:
        """Resolve for real."""
        return self._inner.resolve(server, allow)

    def host_key(self, server: Server, where: str) -> HostKey | Failure:
        """Read the key for real, and write it down."""
        key = self._inner.host_key(server, where)
        if isinstance(key, HostKey):
            self._file.write(json.dumps({"host_key": str(key)}) + "\n")
        return key

    def start(self, server: Server) -> Process:
        """Start the real process."""
        return _RecordedProcess(self._inner.start(server), self._file)


class _RecordedProcess:
    def __init__(self, inner: Process, file: IO[str]) -> None:
        self.isolation = inner.isolation
        self._inner = inner
        self._file = file
        self._nonce = NONCE

    def order(self, order: dict[str, Any]) -> None:
        self._nonce = order.get("variables", {}).get("ocore_nonce", self._nonce)
        self._inner.order(order)

    def answers(self) -> Iterator[dict[str, Any] | None]:
        for answer in self._inner.answers():
            if answer is not None:
                self._file.write(json.dumps(with_nonce(answer, self._nonce, NONCE), sort_keys=True) + "\n")
            yield answer

    def complaint(self) -> str:
        return self._inner.complaint()

    def end(self) -> None:
        self._inner.end()


def with_nonce(answer: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Return an answer with one run's nonce in place of another's."""
    message = answer.get("result", {}).get("msg")
    if not isinstance(message, str) or old not in message:
        return answer
    return answer | {"result": answer["result"] | {"msg": message.replace(old, new)}}
