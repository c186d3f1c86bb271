"""What a host says, made harmless: bounded in size, and free of characters that could steer a terminal."""

from __future__ import annotations

import re
from pathlib import Path

MAX_TEXT = 200
MAX_FILE_BYTES = 256 * 1024
_NOT_PRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def plain(value: object, limit: int = MAX_TEXT) -> str:
    """Return the value as one printable line of at most `limit` characters."""
    return _NOT_PRINTABLE.sub(" ", str(value)).strip()[:limit]


def read_text(path: str, limit: int = MAX_FILE_BYTES) -> str:
    """Return the beginning of a text file, or nothing where it cannot be read."""
    try:
        return read_bytes(path, limit).decode("utf-8", errors="replace")
    except OSError:
        return ""


def read_bytes(path: str, limit: int) -> bytes:
    """Return at most the first `limit` bytes of a file."""
    with Path(path).open("rb") as file:
        return file.read(limit)
