"""Entity tags of servers (RFC 9110, sections 8.8 and 13): which state of a server somebody has read.

A tag has two parts. The first one changes with what people decide about a server; the second one with everything that
is shown, also what runs and the monitor find out. So a GET is answered 304 only where nothing at all is different, and
a change is refused only where it would undo somebody else's. See docs/adr/0012-entity-tags.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from api.errors import Problem
from api.schemas.servers import ServerUpdate
from api.service import mapping

if TYPE_CHECKING:
    from api.data.tables import Server
    from api.schemas.servers import ServerDetail
    from api.settings import Settings

# What a change may name is what a change may undo; credentials are in it by the counter of their exchanges.
_DECIDED: Final = frozenset(ServerUpdate.model_fields) - {"ssh_private_key", "ssh_password"}
_DIGITS: Final = 20
_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_ANY: Final = "*"


def of(server: Server, detail: ServerDetail) -> str:
    """Return the tag of a server as it is shown."""
    decided = {name: getattr(server, name) for name in _DECIDED}
    # What is not shown: a credential that was exchanged, a removal, and a host key that was reset.
    lasting = _digest([decided, server.generation, server.host_key_epoch])
    return f'"{lasting}-{_digest(detail.model_dump(mode="json"))}"'


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Tell whether who asks has what would be answered (If-None-Match)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == _ANY or tag.strip('"') in {name for _, name in _TAG.findall(if_none_match)}


def check(if_match: str | None, server: Server, settings: Settings) -> None:
    """Raise `precondition_failed` where a server has changed since who asks has read it (If-Match)."""
    if if_match is None or if_match.strip() == _ANY:
        return
    if not _TAG.search(if_match):
        rule = "must be an ETag as it was answered, with its quotes, or *"
        raise Problem("invalid", f"/If-Match: {rule}.", errors=[("/If-Match", rule)])
    now = _lasting(of(server, mapping.server_detail(server, settings)).strip('"'))
    # A weak tag never matches here.
    if now not in {_lasting(name) for weak, name in _TAG.findall(if_match) if not weak}:
        raise Problem("precondition_failed")


def _lasting(name: str) -> str:
    return name.partition("-")[0]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_DIGITS]
