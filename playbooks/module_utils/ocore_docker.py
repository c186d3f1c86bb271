"""A client for Docker's API on its Unix socket, in standard-library Python.

Ansible's own way to Docker needs a collection here and a Python package on the host; this needs neither.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, Tuple

from ansible.module_utils.ocore_text import plain

MAX_RESPONSE_BYTES = 16 * 1024 * 1024


class DockerUnavailable(Exception):  # noqa: N818
    """Docker does not answer, or answers what cannot be used; the text says why."""


class DockerSocket:
    """Docker behind its socket; every call is a connection of its own."""

    def __init__(self, path: str = "/var/run/docker.sock", timeout: float = 10.0) -> None:
        """Take the socket's path, and the seconds for which one answer may stay silent."""
        self.path = path
        self.timeout = timeout

    def get(self, path: str) -> Any:
        """Return the parsed answer; None when what is asked for does not exist."""
        status, answer = self._request("GET", path)
        if status == http.client.NOT_FOUND:
            return None
        if status >= http.client.BAD_REQUEST:
            raise DockerUnavailable(_refusal(status, answer))
        return answer

    def post(self, path: str, body: Any = None) -> Tuple[int, Any]:
        """Return the status and the parsed answer, which is None where Docker sends none."""
        return self._request("POST", path, body)

    def delete(self, path: str) -> Tuple[int, Any]:
        """Return the status and the parsed answer, which is None where Docker sends none."""
        return self._request("DELETE", path)

    def _request(self, method: str, path: str, body: Any = None) -> Tuple[int, Any]:
        connection = _UnixConnection(self.path, self.timeout)
        headers = {"Host": "docker"}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body=content, headers=headers)
            response = connection.getresponse()
            return response.status, _parse(response.read(MAX_RESPONSE_BYTES + 1))
        except (OSError, http.client.HTTPException) as error:
            raise DockerUnavailable(plain(f"Docker does not answer: {error or type(error).__name__}")) from error
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _parse(content: bytes) -> Any:
    """Return what an answer says; None when it is empty or no JSON (a log, say)."""
    if len(content) > MAX_RESPONSE_BYTES:
        raise DockerUnavailable(f"Docker's answer is longer than {MAX_RESPONSE_BYTES} bytes")
    try:
        return json.loads(content.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None


def _refusal(status: int, answer: Any) -> str:
    message = answer.get("message") if isinstance(answer, dict) else None
    return plain(f"Docker answers with status {status}: {message or 'no reason given'}")
