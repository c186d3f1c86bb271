"""Fetching one small document from an address of the settings: https alone, nowhere else, and never for long.

PyJWT's own client follows redirects and proxies, and reads for as long as there is something to read.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.client import HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

MAX_BYTES: Final = 256 * 1024
_OK: Final = 200
_REDIRECTS: Final = range(300, 400)
_HEADERS: Final = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}


class FetchFailed(Exception):  # noqa: N818 - reads as what happened
    """The document could not be had. The reason is for our log."""


def fetch(url: str, trust: ssl.SSLContext, seconds: float) -> bytes:
    """Return a document.

    Raises:
        FetchFailed: it was not there, was too large, took too long, or is elsewhere.

    """
    parts = urlsplit(url)
    connection = HTTPSConnection(parts.hostname or "", parts.port, timeout=seconds, context=trust)
    late = threading.Event()
    # Kept here, since the connection lets go of it once it has the head of an answer.
    open_sockets: list[socket.socket] = []

    def cut() -> None:
        late.set()
        # The time limit of a socket begins anew with each byte; this one does not.
        for one in open_sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    watch = threading.Timer(seconds, cut)
    watch.daemon = True
    watch.start()
    try:
        connection.connect()
        open_sockets.append(connection.sock)
        if late.is_set():
            raise TimeoutError
        body = _read(connection, f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}")
    except (OSError, HTTPException, ValueError) as error:
        reason = "it took too long" if late.is_set() else f"{type(error).__name__}: {error}"
        raise FetchFailed(reason[:200]) from None
    finally:
        watch.cancel()
        connection.close()
    if late.is_set():
        raise FetchFailed("it took too long")
    return body


def _read(connection: HTTPSConnection, target: str) -> bytes:
    connection.request("GET", target, headers=_HEADERS)
    answer = connection.getresponse()
    if answer.status in _REDIRECTS:
        raise FetchFailed(f"it is said to be elsewhere ({answer.status}), which is not believed")
    if answer.status != _OK:
        raise FetchFailed(f"the answer was {answer.status}")
    body = answer.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise FetchFailed(f"it is larger than {MAX_BYTES} bytes")
    return body
