"""`ocore token`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlmodel import col, select

from api.commands.opening import opened, organization, place
from api.data.tables import AuditEntry, RevokedToken, now
from api.errors import ArgumentError
from api.ids import is_id
from api.security.tokens import DAY, MANAGE, TokenRefused
from api.service import audit

if TYPE_CHECKING:
    from argparse import Namespace

    from sqlmodel import Session

    from api.parts import Parts

_ISSUE: Final = "token.issue"


def issue(arguments: Namespace) -> int:
    """Issue a token."""
    with opened(arguments) as parts:
        if not 1 <= arguments.days <= parts.settings.token_max_days:
            raise ArgumentError(
                f"--days must be from 1 to {parts.settings.token_max_days} (the setting token_max_days)."
            )
        permissions = arguments.permission or [MANAGE]
        with parts.database.write() as session:
            whose = organization(session, arguments.org, parts.settings)
            token, name = parts.tokens.issue(whose.id, arguments.subject, permissions, arguments.days * DAY)
            thing = audit.Thing("token", name, arguments.subject)
            given = audit.changes({}, {"permissions": permissions, "days": arguments.days})
            session.info[audit.ACTOR] = audit.Actor.of_command()
            audit.note(session, _ISSUE, thing, organization=whose.id, changes=given)
    if arguments.json:
        ends = now() + timedelta(days=arguments.days)
        said = {"token": token, "id": name, "expiresAt": ends.isoformat(timespec="seconds").replace("+00:00", "Z")}
        sys.stdout.write(json.dumps(said) + "\n")
    else:
        # Alone on standard output, so that a shell can take it: TOKEN=$(ocore token issue …)
        about = f"for {arguments.days} days: {', '.join(permissions)}"
        sys.stderr.write(f"Token {name} of the service in {place(parts.settings)}, {about}\n")
        sys.stdout.write(token + "\n")
    return 0


def revoke(arguments: Namespace) -> int:
    """Take a token back."""
    with opened(arguments) as parts:
        name, ends = _which(parts, arguments.token)
        with parts.database.write() as session:
            session.merge(RevokedToken(id=name, expires_at=ends))
            _note_revoked(session, name)
    sys.stderr.write(f"Token {name} is no longer taken.\n")
    return 0


def list(arguments: Namespace) -> int:  # noqa: A001 - the command's name
    """List the tokens that were taken back; those that were issued are stored nowhere."""
    with opened(arguments) as parts, parts.database.read() as session:
        query = select(RevokedToken).where(col(RevokedToken.expires_at) > now()).order_by(col(RevokedToken.id))
        found = session.exec(query).all()
    ends = {one.id: one.expires_at.isoformat(timespec="seconds").replace("+00:00", "Z") for one in found}
    if arguments.json:
        said = json.dumps([{"id": name, "refusedUntil": until} for name, until in ends.items()]) + "\n"
    else:
        said = "".join(f"{name}  refused until {until}\n" for name, until in ends.items())
    sys.stdout.write(said)
    return 0


def _note_revoked(session: Session, name: str) -> None:
    """Write down that a token was taken back, where the one who has it finds it: its issue tells whose it is."""
    issued = select(AuditEntry).where(col(AuditEntry.action) == _ISSUE, col(AuditEntry.object_id) == name)
    found = session.exec(issued).first()
    thing = audit.Thing("token", name, found.object_name if found else "")
    session.info[audit.ACTOR] = audit.Actor.of_command()
    audit.note(session, "token.revoke", thing, organization=found.organization_id if found else None)


def _which(parts: Parts, given: str) -> tuple[str, datetime]:
    """Return a token's id, and until when it has to be refused."""
    if given != "-":
        if not is_id(given):
            raise ArgumentError("A token's id is a UUID; the token itself is given on standard input, with -.")
        return given.lower(), now() + timedelta(days=parts.settings.token_max_days)
    try:
        caller, ends = parts.tokens.read(sys.stdin.read().strip())
    except TokenRefused as refused:
        raise ArgumentError(f"That is no token that would be taken: {refused}.") from None
    return caller.token, datetime.fromtimestamp(ends, UTC)
