"""The bodies of answers about the audit log."""

from __future__ import annotations

from typing import Literal

from api.schemas.fields import Answer, Moment


class ActorOut(Answer):
    """Who made a change: by a token, by a command on the service's machine, or the service by itself."""

    kind: Literal["token", "command", "service"]
    name: str
    token_id: str
    request_id: str


class ThingOut(Answer):
    """What was changed."""

    kind: str
    id: str
    name: str


class ChangeOut(Answer):
    """One field, before and after; of a secret both are null."""

    field: str
    before: str | None
    after: str | None


class AuditEntryOut(Answer):
    """One change."""

    id: str
    at: Moment
    actor: ActorOut
    action: str
    object: ThingOut
    server_id: str | None
    changes: list[ChangeOut]
    detail: str


class AuditList(Answer):
    """Changes, newest first."""

    entries: list[AuditEntryOut]
