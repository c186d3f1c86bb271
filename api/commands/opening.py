"""The parts of the service, for one command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlmodel import col, select

from api.data.database import FILE, url_of
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
def opened(arguments: Namespace, *, makes: bool = False) -> Iterator[Parts]:
    """Open the parts, and close them; what is not there yet is made where `makes`, and SetupError otherwise."""
    settings = settings_of(arguments)
    if not makes and settings.embedded and not (settings.home / FILE).exists():
        raise SetupError(
            f"There is no service's data in {settings.home}: name its folder with --home or OCORE_HOME, or its "
            "database with OCORE_DATABASE_URL. (`ocore serve` and `ocore org create` make a folder.)"
        )
    parts = Parts.open(settings)
    try:
        yield parts
    finally:
        parts.close()


def place(settings: Settings) -> str:
    """Return where the data is, in words that show no password."""
    if settings.embedded:
        return str(settings.home)
    # A query may have a password, too.
    return url_of(settings).set(query={}).render_as_string(hide_password=True)


def organization(session: Session, name: str, settings: Settings) -> Organization:
    """Return an organization by its name, or raise SetupError."""
    found = session.exec(select(Organization).where(col(Organization.name) == name)).first()
    if found is None:
        raise SetupError(
            f"There is no organization {name!r} in {place(settings)}: `ocore org create {name}` makes it; "
            f"another service's {'folder' if settings.embedded else 'database'} is named with "
            f"{'--home or OCORE_HOME' if settings.embedded else 'OCORE_DATABASE_URL'}."
        )
    return found
