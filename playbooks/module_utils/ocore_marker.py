"""The file by which a server knows to whom it belongs."""

from __future__ import annotations

import json
from typing import Optional

from ansible.module_utils.ocore_text import plain, read_text

MARKER = "/etc/ocore/server.json"


def server_id(path: str = MARKER) -> Optional[str]:
    """Return the id that the marker file holds; None where there is no such file or none of ours."""
    return parse_marker(read_text(path))


def parse_marker(text: str) -> Optional[str]:
    """Return the server's id of a marker file's text."""
    try:
        marker = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(marker, dict) or marker.get("managedBy") != "ocore":
        return None
    return plain(marker.get("serverId") or "")
