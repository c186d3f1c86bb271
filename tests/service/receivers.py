"""Real HTTP servers that webhooks are sent to: each does, request by request, what its script says."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

# What a receiver may do with a request, besides answering it with a status.
HANG_UP = "hang up"
SILENCE = "silence"
DRIP = "drip"
FLOOD = "flood"
Deed = int | str


@dataclass
class Receiver:
    """A server, and what it was sent."""

    url: str = ""
    script: list[Deed] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    location: str = ""
    ending: threading.Event = field(default_factory=threading.Event)

    @property
    def ids(self) -> list[str]:
        """The ids of the messages, one for each request."""
        return [headers["webhook-id"] for _, headers, _ in self.got]


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            number = len(receiver.got)
            receiver.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            deed = receiver.script[number] if number < len(receiver.script) else 200
            with contextlib.suppress(OSError):
                _do(self, receiver, deed)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _do(handler: BaseHTTPRequestHandler, receiver: Receiver, deed: Deed) -> None:
    if isinstance(deed, int):
        handler.send_response(deed)
        if receiver.location:
            handler.send_header("Location", receiver.location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.close_connection = True
    _DEEDS.get(deed, lambda *_: None)(handler, receiver)


def _stay_silent(_: BaseHTTPRequestHandler, receiver: Receiver) -> None:
    receiver.ending.wait(20)


def _drip(handler: BaseHTTPRequestHandler, receiver: Receiver) -> None:
    """Answer a byte at a time, so that no single wait is long."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not receiver.ending.wait(0.1):
        handler.wfile.write(b"x")


def _flood(handler: BaseHTTPRequestHandler, receiver: Receiver) -> None:
    """Answer well, with a body that has no end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not receiver.ending.is_set():
        handler.wfile.write(b"x" * 65536)


_DEEDS: dict[str, Callable[[BaseHTTPRequestHandler, Receiver], None]] = {
    SILENCE: _stay_silent,
    DRIP: _drip,
    FLOOD: _flood,
}


@contextlib.contextmanager
def receiving(*script: Deed, location: str = "", context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Have a server that does one deed for each request, and answers 200 from then on."""
    receiver = Receiver(script=list(script), location=location)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(receiver))
    server.daemon_threads = True
    port = server.server_port
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    # Threads that serve requests must not speak of a client that went away.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    receiver.url = f"https://localhost:{port}/hook" if context else f"http://127.0.0.1:{port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()


def certificate(folder: Path, names: Sequence[str]) -> tuple[ssl.SSLContext, Path]:
    """Return what serves TLS under some names, and the file of the authority that says so."""
    authority, ca_key = _signed("authority", None, None, ())
    leaf, key = _signed("leaf", authority, ca_key, names)
    (folder / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    chain = folder / "chain.pem"
    chain.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + leaf.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context, folder / "ca.pem"


def _signed(
    name: str,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey | None,
    names: Sequence[str],
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer_key or key
    moment = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(hours=1))
        .not_valid_after(moment + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if names:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
    else:
        made = made.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    return made.sign(signer, hashes.SHA256()), key


def wait_until_due() -> None:
    """Let the tests' short schedule pass."""
    time.sleep(0.07)
