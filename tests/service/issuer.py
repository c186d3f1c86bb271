"""An issuer of tokens as a real HTTPS server, with a certificate of an authority that is made here."""

from __future__ import annotations

import ipaddress
import json
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api.settings import Issuer, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service.support import Service

ISSUER = "https://id.example.org/"
AUDIENCE = "ocore"
# Quick, so that a test sees keys grow old.
TIMES: dict[str, Any] = {"issuers_timeout": 1, "issuers_lifetime": 1, "issuers_pause": 0.4}
_ALGORITHMS: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def new_key(algorithm: str) -> Any:
    """Return a new private key."""
    if algorithm == "RS256":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else ed25519.Ed25519PrivateKey.generate()


def public_jwk(name: str, algorithm: str, key: Any, **more: Any) -> dict[str, Any]:
    """Return a key as an issuer publishes it."""
    found = json.loads(_ALGORITHMS[algorithm].to_jwk(key.public_key()))
    return found | {"kid": name, "use": "sig"} | more


@dataclass
class Signer:
    """One key of an issuer."""

    name: str
    algorithm: str = "ES256"
    key: Any = None

    def __post_init__(self) -> None:
        """Make a key where none is given."""
        self.key = self.key or new_key(self.algorithm)

    @property
    def jwk(self) -> dict[str, Any]:
        """The key as it is published."""
        return public_jwk(self.name, self.algorithm, self.key)

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token that would be taken, but for what is given; None takes a claim away."""
        seconds = int(time.time())
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": seconds, "exp": seconds + 600, "org": "one"}
        said |= {"permissions": ["manage:servers"]} | claims
        said = {name: value for name, value in said.items() if value is not None}
        # Without PyJWT's own look at the claims: some of them are wrong on purpose.
        text = json.dumps(said).encode()
        return jwt.PyJWS().encode(text, self.key, self.algorithm, headers={"kid": self.name} | (header or {}))


@dataclass
class Published:
    """What the issuer's server answers, and what was asked."""

    keys: list[dict[str, Any]] = field(default_factory=list)
    mode: str = "well"
    asked: int = 0
    sent: int = 0
    paths: list[str] = field(default_factory=list)
    url: str = ""
    authority: str = ""


class _Handler(BaseHTTPRequestHandler):
    published: Published

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.published.asked += 1
        self.published.paths.append(self.path)
        with suppress(OSError):
            getattr(self, f"_{self.published.mode.replace(' ', '_')}")()

    def _answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _well(self) -> None:
        self._answer(json.dumps({"keys": self.published.keys}).encode())

    def _redirecting(self) -> None:
        self._answer(b"", 302, Location=self.published.url.replace("/keys", "/elsewhere"))

    def _failing(self) -> None:
        self._answer(b"{}", 500)

    def _no_JSON(self) -> None:  # noqa: N802
        self._answer(b"<html>")

    def _saying_a_name_twice(self) -> None:
        keys = json.dumps(self.published.keys)
        self._answer(f'{{"keys": {keys}, "keys": {keys}}}'.encode())

    def _naming_two_keys_alike(self) -> None:
        other = [one | public_jwk(one["kid"], "EdDSA", new_key("EdDSA")) for one in self.published.keys]
        self._answer(json.dumps({"keys": self.published.keys + other}).encode())

    def _huge(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(200):
            self.wfile.write(b" " * 65536)
            self.published.sent += 65536

    def _huge_by_its_own_word(self) -> None:
        self._answer(json.dumps({"keys": [*self.published.keys, {"x": "x" * 300_000}]}).encode())

    def _of_too_many_keys(self) -> None:
        self._answer(json.dumps({"keys": self.published.keys + [{}] * 100}).encode())

    def _dripping(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.1)

    def _dripping_its_head(self) -> None:
        for _ in range(100):
            self.wfile.write(b"HTTP/1.0 200 OK\r\n"[:1] if _ == 0 else b"T")
            self.wfile.flush()
            time.sleep(0.1)

    def _silent(self) -> None:
        time.sleep(4)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing of a client that went away."""


def _certificates(folder: Path) -> tuple[Path, Path]:
    """Make an authority, and a certificate of it for this machine; return the files of both, with the key."""
    moment = datetime.now(UTC)
    authority_key, key = new_key("ES256"), new_key("ES256")
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority of a test")])

    def usage(*, signs: bool) -> x509.KeyUsage:
        unused = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
        return x509.KeyUsage(
            digital_signature=not signs,
            key_cert_sign=signs,
            crl_sign=signs,
            encipher_only=False,
            decipher_only=False,
            **unused,
        )

    def certificate(name: x509.Name, public: Any, *, signs: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - timedelta(hours=1))
            .not_valid_after(moment + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=signs, path_length=None), critical=True)
            # Python asks for them from 3.13 on.
            .add_extension(usage(signs=signs), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
        )

    root = certificate(authority, authority_key.public_key(), signs=True).sign(authority_key, hashes.SHA256())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = certificate(name, key.public_key(), signs=False).add_extension(here, critical=False)
    ca, both = folder / "authority.pem", folder / "server.pem"
    ca.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    signed = leaf.sign(authority_key, hashes.SHA256())
    both.write_bytes(key.private_bytes(*form) + signed.public_bytes(serialization.Encoding.PEM))
    return ca, both


@contextmanager
def publishing(folder: Path, *signers: Signer) -> Iterator[Published]:
    """Have an issuer's server that answers with these signers' keys, and does what its `mode` says."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, certificate = _certificates(folder)
    published = Published([one.jwk for one in signers], authority=str(authority))
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"published": published}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    published.url = f"https://127.0.0.1:{server.server_address[1]}/keys"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield published
    finally:
        server.shutdown()
        server.server_close()


def trusting(folder: Path, published: Published, issuer: dict[str, Any] | None = None, **settings: Any) -> Settings:
    """Return the settings of a service that takes the issuer's tokens."""
    given: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "jwks_url": published.url,
        "algorithms": ("RS256", "ES256", "EdDSA"),
    }
    named = Issuer(**given | (issuer or {}))
    unlimited = {"rate_organization": 0, "rate_address": 0, "rate_failures": 0}
    chosen: dict[str, Any] = TIMES | unlimited | {"issuers_ca_file": published.authority} | settings
    return Settings(home=folder, monitor=False, issuers=(named,), **chosen)


def asked(service: Service, token: str) -> int:
    """Return what a token is answered."""
    return service.call("GET", "/api/servers", token=token).status_code
