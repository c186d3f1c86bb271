"""Text from a server, made safe to show and to store."""

from __future__ import annotations

import re
from typing import Final

# Escape sequences first, as a whole: without their introducer the rest would stay as litter.
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
# C0, C1, and the characters that reorder or hide what follows on a terminal; lone surrogates cannot be encoded.
# A line of a host's must not look like one of ours.
_BREAKS: Final = re.compile(r"[\t\n\r\v\f]+")
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def plain(text: str, most: int) -> str:
    """Return `text` in one line, without control characters and escape sequences, cut to `most` characters."""
    # Cutting first bounds the work; a text that is cut twice is cut at the same place.
    cleaned = _CONTROLS.sub("", _BREAKS.sub(" ", _ESCAPES.sub("", text[: most * 4]))).strip()
    return cleaned if len(cleaned) <= most else cleaned[: most - 1] + "…"
