"""Taking a run's secrets out of texts, in every spelling in which they could appear there."""

from __future__ import annotations

import base64
import json
import re
import shlex
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ocore.intake.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN: Final = "[hidden]"
# Shorter than this, a secret would take half of every message with it, and hide nothing.
SHORTEST: Final = 4
_PEM: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def _spellings(secret: str) -> set[str]:
    raw = secret.encode()
    lines = [line for line in secret.splitlines() if line and "PRIVATE KEY" not in line]
    return {
        secret,
        *lines,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
        shlex.quote(secret),
        repr(secret)[1:-1],
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
    }


class Scrubber:
    """Knows a run's secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {one for secret in secrets for one in _spellings(secret) if len(one) >= SHORTEST}
        longest_first = sorted(spellings, key=lambda one: (-len(one), one))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def plain(self, text: str, most: int) -> str:
        """Return a text from outside: safe to show, and without secrets, also where control characters split them."""
        return self(plain(self(text), most))

    def __call__(self, text: str) -> str:
        """Return the text without the secrets, and without anything that looks like a private key."""
        text = _PEM.sub(HIDDEN, text)
        return self._pattern.sub(HIDDEN, text) if self._pattern else text
