"""Load the image archives that lie ready into this host's Docker, unless they are there: a stand-in for a registry.

It speaks to the daemon's socket, because the command line may not be installed yet when the daemon first starts.
"""

from __future__ import annotations

import http.client
import socket
import sys
from pathlib import Path
from urllib.parse import quote

ARCHIVES = Path("/usr/local/share/ocore-images")
SOCKET = "/run/docker.sock"


class DaemonConnection(http.client.HTTPConnection):
    """An HTTP connection to the Docker daemon's socket."""

    def connect(self) -> None:
        """Connect to the socket instead of to a network address."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(120)
        self.sock.connect(SOCKET)


def call(method: str, path: str, body: Path | None = None) -> int:
    """Send one request and return its status."""
    connection = DaemonConnection("localhost")
    try:
        if body is None:
            connection.request(method, path)
        else:
            headers = {"Content-Type": "application/x-tar", "Content-Length": str(body.stat().st_size)}
            with body.open("rb") as file:
                connection.request(method, path, body=file, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def main() -> int:
    """Load each archive whose reference, in the file beside it, the daemon does not know."""
    failed = False
    for archive in sorted(ARCHIVES.glob("*.tar")):
        reference = archive.with_suffix(".ref").read_text(encoding="utf-8").strip()
        if call("GET", f"/images/{quote(reference, safe='')}/json") != 200:
            failed |= call("POST", "/images/load?quiet=1", archive) != 200
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
