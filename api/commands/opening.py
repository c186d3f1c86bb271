"""The parts of the service, for one command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlmodel import col, select

from api.data.tables import Organization
from api.errors import SetupError
from api.parts import Parts
from api.settings import Settings

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from sqlmodel import Session


def settings_of(arguments: Namespace, **given: object) -> Settings:
    """Return the settings, with what was given as arguments going before them."""
    if arguments.home:
        given["home"] = arguments.home
    return Settings(**given)  # type: ignore[arg-type]


@contextmanager
def opened(arguments: Namespace) -> Iterator[Parts]:
    """Open the parts, and close them."""
    parts = Parts.open(settings_of(arguments))
    try:
        yield parts
    finally:
        parts.close()


def organization(session: Session, name: str) -> Organization:
    """Return an organization by its name, or raise SetupError."""
    found = session.exec(select(Organization).where(col(Organization.name) == name)).first()
    if found is None:
        raise SetupError(f"There is no organization {name!r}; `ocore org create {name}` makes it.")
    return found
