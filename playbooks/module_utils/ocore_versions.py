"""Comparing version numbers as people read them."""

from __future__ import annotations

import re
from typing import Tuple

_UPSTREAM = re.compile(r"(?:\d+:)?v?(\d+(?:\.\d+)*)")


def upstream(version: str) -> str:
    """Return the plain number inside a package's version: `5:27.3.1-1~debian.12` is 27.3.1."""
    found = _UPSTREAM.match(version)
    return found.group(1) if found else ""


def number(version: str) -> Tuple[int, ...]:
    """Return a version as something that can be compared; what is no version is less than any."""
    return tuple(int(part) for part in upstream(version).split(".") if part)


def at_least(version: str, minimum: str) -> bool:
    """Tell whether a version reaches the minimum: 24.0 and 24 are the same, 9 is less than 24."""
    have, want = number(version), number(minimum)
    width = max(len(have), len(want))
    return have + (0,) * (width - len(have)) >= want + (0,) * (width - len(want)) and bool(have)
