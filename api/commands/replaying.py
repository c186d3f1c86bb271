"""`ocore serve --replay`: the whole service, over servers that are recordings."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ocore
from api.commands.opening import settings_of
from api.data.database import FILE
from api.errors import ArgumentError, SetupError
from api.parts import RINGS, setting_of

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

# Says that what is in a folder was never about a real server.
_MARK: Final = "replayed"


def serve(arguments: Namespace, given: dict[str, Any], run: Callable[..., int]) -> int:
    """Run all of the service in this process; no server is reached, and no other service's data."""
    if arguments.role != "all":
        raise ArgumentError("--replay goes with --role all: what was replayed is known to one process.")
    try:
        transport = ocore.Replay(Path(arguments.replay)) if arguments.replay else ocore.Replay()
    except ocore.ConfigError as error:
        raise ArgumentError(f"{error}.") from None
    # Neither the data and counts of a real service nor any of its keys, wherever the environment says that they are:
    # what a replay signs with them would be believed.
    given |= {"database_url": "", "queue_url": "", "rate_url": ""} | dict.fromkeys(map(setting_of, RINGS))
    with tempfile.TemporaryDirectory(prefix="ocore-replay-") as folder:
        settings = settings_of(arguments, **given, home=folder)
        _mark(settings.home)
        return run("all", settings, transport)


def refuse_replayed(home: Path) -> None:
    """Refuse, to a real service, a folder in which servers were replayed: it would take them for real ones."""
    if (home / _MARK).exists():
        raise SetupError(f"{home} has replayed servers; go on with --replay, or give another --home.")


def _mark(home: Path) -> None:
    """Refuse a folder with a real service's data: its servers would be told to be what they are not, and removed."""
    if (home / FILE).exists() and not (home / _MARK).exists():
        raise SetupError(f"{home} has the data of a real service; give --replay another --home.")
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / _MARK).touch()
