"""Who answers at an SSH port is told apart in bounded time, over real connections."""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ocore.errors import ErrorCode, Failure
from ocore.intake.hostkeys import HostKey
from ocore.ssh import hostkey, options
from tests.unit.keymaker import public_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LIMIT = 0.6


@contextlib.contextmanager
def _server(pieces: Sequence[bytes], pause: float = 0.0) -> Iterator[int]:
    """Answer one connection with these pieces, a pause after each, and hang up."""

    def answer(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("says", [b"SSH-2.0-OpenSSH_10.0\r\n", b"Welcome.\r\nPlease wait.\r\nSSH-2.0-x\r\n"])
def test_an_ssh_server_is_known_by_its_greeting(says: bytes) -> None:
    """A greeting counts, also after other lines (which the protocol allows)."""
    with _server([says]) as port:
        assert hostkey.greet("127.0.0.1", port) is None


@pytest.mark.parametrize(
    ("says", "code"),
    [
        (b"", ErrorCode.NOT_SSH),
        (b"220 mail.example ESMTP\r\n", ErrorCode.NOT_SSH),
        (b"x" * 3 * hostkey.MAX_GREETING, ErrorCode.NOT_SSH),
        (b"Not allowed at this time\r\n", ErrorCode.CONNECTION_REFUSED),
        (b"Exceeded MaxStartups\r\n", ErrorCode.CONNECTION_REFUSED),
    ],
    ids=["hangs up", "mail", "flood", "locked out", "too many"],
)
def test_what_does_not_greet_is_told_apart(says: bytes, code: ErrorCode) -> None:
    """A server that turns us away for a while is no stranger: that code lets the run be tried again."""
    with _server([says]) as port:
        failure = hostkey.greet("127.0.0.1", port)
    assert failure is not None
    assert failure.code is code


@pytest.mark.parametrize("pause", [LIMIT / 5, 0.001], ids=["slow", "fast"])
def test_a_trickle_gains_no_time(pause: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit holds for all that is said before the greeting, not for each byte of it."""
    monkeypatch.setattr(options, "CONNECT_SECONDS", LIMIT)
    began = time.monotonic()
    with _server([b"x"] * round(3 * LIMIT / pause), pause) as port:
        failure = hostkey.greet("127.0.0.1", port)
        took = time.monotonic() - began
    assert failure is not None
    assert failure.code is ErrorCode.CONNECT_TIMEOUT
    assert took < 2 * LIMIT


def _text(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _packet(payload: bytes) -> bytes:
    padding = 16 - (len(payload) + 5) % 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def _impostor(key: HostKey) -> list[bytes]:
    """Return what a host says that shows somebody's public key, and cannot sign with it."""
    kinds = [b"curve25519-sha256", b"ssh-ed25519", *[b"aes128-ctr"] * 2, *[b"hmac-sha2-256"] * 2, *[b"none"] * 2]
    begin = b"\x14" + bytes(16) + b"".join(_text(kind) for kind in [*kinds, b"", b""]) + bytes(5)
    signature = _text(_text(b"ssh-ed25519") + _text(b"s" * 64))
    reply = b"\x1f" + _text(base64.b64decode(key.key)) + _text(b"\x09" + bytes(31)) + signature
    return [b"SSH-2.0-OpenSSH_9.2\r\n", _packet(begin), _packet(reply)]


def test_a_key_that_the_host_has_not_signed_with_is_not_its_key() -> None:
    """Everybody knows the public half of a host key; ssh writes it down before it looks at the signature."""
    shown = HostKey.parse(public_key("ed25519"))
    with _server(_impostor(shown), pause=0.3) as port:
        found = hostkey.read("127.0.0.1", port, "root")
    assert isinstance(found, Failure), found
    assert found.code is ErrorCode.CONNECTION_LOST
    assert "before it proved" in found.message


def test_all_types_of_keys_share_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that shows one wrong key after the other has no more time for all of them than for one."""
    deadlines: list[float | None] = []
    shown = HostKey.parse(public_key("ed25519"))

    def read(_address: str, _port: int, _user: str, _preferred: str, deadline: float | None = None) -> HostKey:
        deadlines.append(deadline)
        return shown

    monkeypatch.setattr(hostkey, "read", read)
    found = hostkey.find("192.0.2.1", 22, "root", "SHA256:" + "A" * 43)
    assert isinstance(found, Failure)
    assert len(deadlines) > 1
    assert len(set(deadlines)) == 1
    assert deadlines[0] is not None
