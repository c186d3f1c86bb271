"""`ocore org`."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from api.commands.opening import opened, organization, place
from api.data.tables import Organization
from api.errors import ArgumentError, SetupError
from api.service import audit

if TYPE_CHECKING:
    from argparse import Namespace

_MOST = 100
_QUOTAS = ("servers", "runs")


def create(arguments: Namespace) -> int:
    """Make an organization."""
    name = arguments.name.strip()
    if not 1 <= len(name) <= _MOST or not name.isprintable():
        raise ArgumentError(f"An organization's name has 1-{_MOST} characters, and no control characters.")
    with opened(arguments, makes=True) as parts:
        made = Organization(name=name)
        try:
            with parts.database.write() as session:
                session.add(made)
                session.flush()
                session.info[audit.ACTOR] = audit.Actor.of_command()
                audit.note(session, "org.create", audit.Thing("organization", made.id, name), organization=made.id)
        except IntegrityError:
            raise SetupError(f"There is an organization {name!r} already.") from None
    sys.stderr.write(f"Made in {place(parts.settings)}\n")
    said = json.dumps({"id": made.id, "name": made.name}) if arguments.json else f"{made.id}  {made.name}"
    sys.stdout.write(said + "\n")
    return 0


def quota(arguments: Namespace) -> int:
    """Show or set how much an organization may have."""
    given = {name: getattr(arguments, name) for name in _QUOTAS if getattr(arguments, name) is not None}
    new = {name: _amount(name, text) for name, text in given.items()}
    with opened(arguments) as parts:
        with parts.database.write() as session:
            found = organization(session, arguments.name, parts.settings)
            for name, amount in new.items():
                setattr(found, f"quota_{name}", amount)
            session.add(found)
            if new:
                session.info[audit.ACTOR] = audit.Actor.of_command()
                thing = audit.Thing("organization", found.id, found.name)
                audit.note(session, "org.quota", thing, organization=found.id, detail=json.dumps(new))
            own = {name: getattr(found, f"quota_{name}") for name in _QUOTAS}
        most = {name: getattr(parts.settings, f"quota_{name}") if own[name] is None else own[name] for name in _QUOTAS}
    if arguments.json:
        sys.stdout.write(json.dumps(most | {"own": own}) + "\n")
    else:
        for name in _QUOTAS:
            where = "the setting's" if own[name] is None else "its own"
            sys.stdout.write(f"{name}: {most[name] or 'any number'} ({where})\n")
    return 0


def _amount(name: str, text: str) -> int | None:
    """Return how much is meant; None for what the settings say."""
    if text == "default":
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ArgumentError(f"--{name} is a whole number, 0 for any number of them, or default.")
    return int(text)


def list(arguments: Namespace) -> int:  # noqa: A001 - the command's name
    """List the organizations."""
    with opened(arguments) as parts, parts.database.read() as session:
        found = session.exec(select(Organization).order_by(col(Organization.name))).all()
    if arguments.json:
        said = json.dumps([{"id": one.id, "name": one.name} for one in found]) + "\n"
    else:
        said = "".join(f"{one.id}  {one.name}\n" for one in found)
    sys.stdout.write(said)
    return 0
