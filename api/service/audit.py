"""The audit log: every change and who made it, written in the transaction that makes the change."""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic.alias_generators import to_camel
from sqlmodel import col, or_, select

from api.data.tables import AuditEntry, Server

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlmodel import Session

    from api.service.scope import Scope

ACTOR: Final = "actor"
_SECRETS: Final = frozenset({"ssh_private_key", "ssh_password"})
_DETAIL: Final = 4000


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes changes.

    Attributes:
        kind: `token`, `command` or `service`.
        name: the token's subject, or the system's user who gave the command.
        token: the token's id.
        request: the request's id.

    """

    kind: str
    name: str
    token: str = ""
    request: str = ""

    @classmethod
    def of_command(cls) -> Actor:
        """Return who gives a command on this machine."""
        try:
            return cls("command", getpass.getuser())
        except (KeyError, OSError):  # it has no name here, as in many a container
            return cls("command", str(os.getuid()))


SERVICE: Final = Actor("service", "ocore")


@dataclass(frozen=True, slots=True)
class Thing:
    """What was changed."""

    kind: str
    id: str
    name: str = ""
    server: str = ""


def server_thing(server: Server) -> Thing:
    """Return a server as a thing that is changed."""
    return Thing("server", server.id, server.name, server.id)


def actor_of(session: Session) -> Actor:
    """Return who makes this transaction's changes: the service itself, unless somebody asked for them."""
    found: Actor = session.info.get(ACTOR, SERVICE)
    return found


def note(
    session: Session,
    action: str,
    thing: Thing,
    *,
    organization: str | None,
    changes: Iterable[Mapping[str, Any]] = (),
    detail: str = "",
) -> None:
    """Write down a change, in the transaction that makes it."""
    actor = actor_of(session)
    session.add(
        AuditEntry(
            organization_id=organization,
            actor_kind=actor.kind,
            actor=actor.name,
            token_id=actor.token,
            request_id=actor.request,
            action=action,
            object_kind=thing.kind,
            object_id=thing.id,
            object_name=thing.name,
            server_id=thing.server,
            changes=[dict(one) for one in changes],
            detail=detail[:_DETAIL],
        )
    )


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is otherwise afterwards, by the API's names; of a secret nothing but that it was given."""
    found: list[dict[str, Any]] = []
    for name, value in sorted(after.items()):
        if name in _SECRETS:
            if value is not None:
                found.append({"field": to_camel(name), "before": None, "after": None})
        elif name not in before or before[name] != value:
            found.append({"field": to_camel(name), "before": _text(before.get(name)), "after": _text(value)})
    return found


def _text(value: object) -> str | None:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return json.dumps(value)
    return None if value is None else str(value)


def listed(scope: Scope, *, limit: int, before: str | None, server: str | None, action: str | None) -> list[AuditEntry]:
    """Return entries of the organization, and those about the service as a whole, newest first.

    Args:
        scope: whose they are.
        limit: the most to return.
        before: only those that were made before the one with this id.
        server: only those about this server, also when it is gone.
        action: only those with this action.

    """
    ours = or_(col(AuditEntry.organization_id) == scope.organization, col(AuditEntry.organization_id).is_(None))
    query = select(AuditEntry).where(ours).order_by(col(AuditEntry.id).desc())
    if before is not None:
        query = query.where(col(AuditEntry.id) < before)
    if server is not None:
        query = query.where(col(AuditEntry.server_id) == server)
    if action is not None:
        query = query.where(col(AuditEntry.action) == action)
    return list(scope.session.exec(query.limit(limit)).all())
