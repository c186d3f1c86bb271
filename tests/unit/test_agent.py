"""The agent's program, run as it is, against real HTTP servers that behave badly."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ocore import content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROGRAM = content.root() / "roles" / "agent" / "files" / "ocore_agent.py"
TOKEN = "oca_" + "s3cret-" * 6
INTERVAL = 0.06
SECONDS = 15.0


class Service:
    """Somebody who listens, and answers as it is told."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None], context: ssl.SSLContext | None = None) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                seen.append((self.path, self.headers["Authorization"], body))
                with contextlib.suppress(OSError):
                    answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        """Begin to use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


class Agent:
    """The program, running."""

    def __init__(self, folder: Path, url: str, *, token: str = TOKEN, **environment: str) -> None:
        settings = folder / "agent.json"
        settings.write_text(json.dumps({"url": url, "interval": INTERVAL}))
        self._log = folder / "log"
        secret = folder / "token"
        secret.write_text(token)
        with self._log.open("wb") as log, secret.open() as given:
            self.process = subprocess.Popen(
                [sys.executable, "-I", str(PROGRAM), str(settings)],
                stdin=given,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"]} | environment,
            )

    def said(self) -> str:
        """Return what it has printed."""
        return self._log.read_text()

    def __enter__(self) -> Self:
        """Begin to use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def wait(condition: Callable[[], Any], agent: Agent) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, agent.said()
        time.sleep(0.02)


def answering(status: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return what answers with a status."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()

    return answer


def drips(handler: BaseHTTPRequestHandler) -> None:
    """Answer a byte at a time, for ever."""
    while True:
        handler.wfile.write(b"H")
        handler.wfile.flush()
        time.sleep(0.05)


def floods(handler: BaseHTTPRequestHandler) -> None:
    """Answer without end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        handler.wfile.write(b"x" * 65536)


def breaks_off(handler: BaseHTTPRequestHandler) -> None:
    """Answer nonsense, with control characters in it."""
    handler.wfile.write(b"\x1b[31m no HTTP \x07\r\n")


def test_it_tells_how_the_server_is_doing(tmp_path: Path) -> None:
    """Each heartbeat has the token in its header and plausible figures, and is all that is sent."""
    with Service(answering(204)) as service, Agent(tmp_path, f"http://127.0.0.1:{service.port}/a/b") as agent:
        wait(lambda: len(service.seen) >= 3, agent)
    path, authorization, body = service.seen[0]
    assert (path, authorization) == ("/a/b", f"Bearer {TOKEN}")
    told = json.loads(body)
    assert told.keys() == {
        "version", "load", "memoryTotalBytes", "memoryAvailableBytes", "diskTotalBytes", "diskFreeBytes", "docker",
        "uptimeSeconds",
    }  # fmt: skip
    assert 0 < told["memoryAvailableBytes"] <= told["memoryTotalBytes"]
    assert 0 <= told["diskFreeBytes"] <= told["diskTotalBytes"]
    assert told["docker"] in {"running", "stopped", "absent"}
    assert agent.said() == "heartbeat: HTTP 204\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (answering(401), "HTTP 401"),
        (answering(429, **{"Retry-After": "999999"}), "HTTP 429"),
        (answering(500), "HTTP 500"),
        (answering(302, Location="http://127.0.0.1:{port}/elsewhere"), "HTTP 302"),
        (breaks_off, "BadStatusLine: ?[31m no HTTP ???"),
        (floods, "HTTP 200"),
    ],
)
def test_a_bad_answer_never_ends_it(tmp_path: Path, answer: Callable[..., None], said: str) -> None:
    """Whatever it is answered, it goes on, says once what it was, and follows nobody."""
    with Service(answer) as service, Agent(tmp_path, f"http://127.0.0.1:{service.port}/x") as agent:
        wait(lambda: len(service.seen) >= 3, agent)
        assert agent.process.poll() is None
        assert agent.said().strip() == f"heartbeat: {said}"
    assert {path for path, _, _ in service.seen} == {"/x"}


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """The token does not go to whoever the answer names."""
    with Service(answering(204)) as other:
        leads = answering(307, Location=f"http://127.0.0.1:{other.port}/x")
        with Service(leads) as service, Agent(tmp_path, f"http://127.0.0.1:{service.port}/x") as agent:
            wait(lambda: len(service.seen) >= 3, agent)
    assert other.seen == []


def test_it_waits_longer_after_each_failure(tmp_path: Path) -> None:
    """Between failures the pauses grow; one success, and they are as before."""
    taken = threading.Event()
    times: list[float] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        times.append(time.monotonic())
        answering(204 if taken.is_set() else 503)(handler)

    with Service(answer) as service, Agent(tmp_path, f"http://127.0.0.1:{service.port}/x") as agent:
        wait(lambda: len(times) >= 4, agent)
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        taken.set()
        count = len(times)
        wait(lambda: len(times) >= count + 4, agent)
    # 0.2, 0.4 and 0.8 s, each up to a tenth more or less.
    assert pauses[0] >= INTERVAL * 2 * 0.9
    assert pauses[1] >= INTERVAL * 4 * 0.9
    assert pauses[2] >= INTERVAL * 8 * 0.9
    assert times[-1] - times[-3] < INTERVAL * 8


def test_who_is_not_there_is_tried_again(tmp_path: Path) -> None:
    """A service that is away, and one whose name is not known, end nothing; when it is back, it is told."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Agent(tmp_path, f"http://127.0.0.1:{port}/x") as agent:
        wait(lambda: "ConnectionRefusedError" in agent.said(), agent)
        assert agent.process.poll() is None
    with Agent(tmp_path, "http://nowhere.invalid/x") as agent:
        wait(lambda: "gaierror" in agent.said(), agent)
        assert agent.process.poll() is None


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_ipv6_address_needs_no_port(tmp_path: Path, scheme: str) -> None:
    """Its last part is not taken for one: it is the address itself that nobody listens at."""
    with Agent(tmp_path, f"{scheme}://[::1]/x") as agent:
        wait(lambda: "heartbeat: " in agent.said(), agent)
        assert "InvalidURL" not in agent.said()
        assert "gaierror" not in agent.said()


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """Return the program with less patience, and otherwise as it is."""
    text = PROGRAM.read_text()
    assert text.count("HEARTBEAT_SECONDS = 20.0") == text.count("SILENCE_SECONDS = 10.0") == 1
    quick = tmp_path / "quick.py"
    quick.write_text(text.replace("HEARTBEAT_SECONDS = 20.0", "HEARTBEAT_SECONDS = 0.5"))
    return quick


def silent(_: BaseHTTPRequestHandler) -> None:
    """Take the request, and never answer."""
    time.sleep(SECONDS)


@pytest.mark.parametrize("answer", [drips, silent])
def test_who_is_slow_does_not_hold_it_up(
    tmp_path: Path, quick: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., None]
) -> None:
    """One who answers a byte at a time is given up after a time for the whole, as is one who never answers."""
    monkeypatch.setattr(sys.modules[__name__], "PROGRAM", quick)
    with Service(answer) as service, Agent(tmp_path, f"http://127.0.0.1:{service.port}/x") as agent:
        wait(lambda: len(service.seen) >= 2, agent)
        assert "TimeoutError: no answer within" in agent.said()
        assert agent.process.poll() is None


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a certificate for 127.0.0.1 that nobody has signed but itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "service")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    file.write_bytes(key.private_bytes(pem, *form) + made.public_bytes(pem))
    return file


@pytest.fixture
def secure(certificate: Path) -> Iterator[Service]:
    """Return a service that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Service(answering(204), context) as service:
        yield service


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, secure: Service) -> None:
    """Nothing is sent to who cannot prove to be the service."""
    with Agent(tmp_path, f"https://127.0.0.1:{secure.port}/x") as agent:
        wait(lambda: "CERTIFICATE_VERIFY_FAILED" in agent.said(), agent)
        assert agent.process.poll() is None
    assert secure.seen == []


def test_a_certificate_of_another_name_is_refused(tmp_path: Path, secure: Service, certificate: Path) -> None:
    """The certificate is trusted, and for another host."""
    with Agent(tmp_path, f"https://localhost:{secure.port}/x", SSL_CERT_FILE=str(certificate)) as agent:
        wait(lambda: "CERTIFICATE_VERIFY_FAILED" in agent.said(), agent)
    assert secure.seen == []


# `-I` takes no variables of Python's; this one is OpenSSL's.
def test_a_certificate_that_is_trusted_is_taken(tmp_path: Path, secure: Service, certificate: Path) -> None:
    """With the same certificate among those that the server trusts, it is told."""
    with Agent(tmp_path, f"https://127.0.0.1:{secure.port}/x", SSL_CERT_FILE=str(certificate)) as agent:
        wait(lambda: len(secure.seen) >= 1, agent)


# --- the token --------------------------------------------------------------------------------------------------------


def test_the_token_is_in_no_argument_and_no_environment(tmp_path: Path) -> None:
    """Who looks at the running process sees neither there nor in what it prints; and its file is closed."""
    with Service(answering(401)) as service, Agent(tmp_path, f"http://127.0.0.1:{service.port}/x") as agent:
        wait(lambda: len(service.seen) >= 2, agent)
        for name in ("cmdline", "environ"):
            with open(f"/proc/{agent.process.pid}/{name}", "rb") as file:  # noqa: PTH123 - no path of ours
                assert TOKEN.encode() not in file.read()
        files = [os.readlink(one) for one in os.scandir(f"/proc/{agent.process.pid}/fd")]  # noqa: PTH115
        assert str(tmp_path / "token") not in files
        assert TOKEN not in agent.said()


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak: x", "ümlaut"])
def test_what_is_no_token_is_never_repeated(tmp_path: Path, token: str) -> None:
    """A token that no header could carry ends it at once, with words that do not tell it."""
    with Agent(tmp_path, "http://127.0.0.1:9/x", token=token) as agent:
        assert agent.process.wait(SECONDS) == 1
        assert agent.said() == "there is no usable token\n"


def test_it_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """SIGTERM ends it at once and well."""
    with Service(answering(204)) as service, Agent(tmp_path, f"http://127.0.0.1:{service.port}/x") as agent:
        wait(lambda: service.seen, agent)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(SECONDS) == 0
