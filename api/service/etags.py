"""Entity tags of servers (RFC 9110, sections 8.8 and 13): which state of a server somebody has read.

A tag has two parts. The first one changes with everything that a change depends on; the second one also with what only
says when a server was last seen, and in which shape. So a GET is answered 304 only where nothing at all is different,
and a change is not refused because of a sign of life that came in between. See docs/adr/0012-entity-tags.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from api.errors import Problem
from api.service import mapping

if TYPE_CHECKING:
    from api.data.tables import Server
    from api.schemas.servers import ServerDetail
    from api.settings import Settings

# What a server is seen to be without anybody's doing; a field that is new counts as something that a change depends on.
_SIGHTINGS: Final = frozenset({"lastSeenAt", "agentStatus", "agentVersion", "agentLastSeenAt", "capacity"})
_DIGITS: Final = 20
_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_ANY: Final = "*"


def of(server: Server, detail: ServerDetail) -> str:
    """Return the tag of a server as it is shown."""
    shown = detail.model_dump(mode="json")
    lasting = {name: value for name, value in shown.items() if name not in _SIGHTINGS}
    # What is not shown: a credential that was exchanged, and a pin that was cleared before there was one.
    return f'"{_digest([lasting, server.generation, server.host_key_epoch])}-{_digest(shown)}"'


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Tell whether who asks has what would be answered (If-None-Match)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == _ANY or tag.strip('"') in {name for _, name in _TAG.findall(if_none_match)}


def check(if_match: str | None, server: Server, settings: Settings) -> None:
    """Raise `precondition_failed` where a server has changed since who asks has read it (If-Match)."""
    if if_match is None or if_match.strip() == _ANY:
        return
    now = _lasting(of(server, mapping.server_detail(server, settings)).strip('"'))
    # A weak tag never matches here.
    if now not in {_lasting(name) for weak, name in _TAG.findall(if_match) if not weak}:
        raise Problem("precondition_failed")


def _lasting(name: str) -> str:
    return name.partition("-")[0]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_DIGITS]
