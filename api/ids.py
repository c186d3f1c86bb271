"""Identifiers: UUIDs of version 7, which sort by when they were made."""

from __future__ import annotations

import secrets
import time
import uuid

_SEQUENCE_BITS = 12
_RANDOM_BITS = 62


def new_id() -> str:
    """Return a new UUID of version 7 (RFC 9562, section 5.7)."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    # The part of a millisecond, so that ids of one process sort within it, too (section 6.2, method 3).
    fraction = rest * (1 << _SEQUENCE_BITS) // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(_RANDOM_BITS)
    return str(uuid.UUID(int=value))


def is_id(text: str) -> bool:
    """Tell whether a text is a UUID in its usual form."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
