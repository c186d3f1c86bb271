"""A site's own sizes of instances and constants of the estimate, from a settings file of the service's form."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ocore.capacity import CapacitySettings, Profile
from ocore.errors import ConfigError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_FIELD: Final = "--settings"
_PROFILE: Final = "standard"


def add_constants(parser: ArgumentParser) -> None:
    """Say which size of instance, and with which constants."""
    parser.add_argument("--profile", metavar="PROFILE", help=f"the size of an instance (default: {_PROFILE})")
    parser.add_argument(
        _FIELD,
        metavar="FILE",
        help="a settings file of the service's form (TOML), whose `capacity` and `capacity_profile` are taken",
    )


def constants(arguments: Namespace) -> tuple[str, CapacitySettings]:
    """Return the profile that is asked for, and the constants."""
    given = _read(Path(arguments.settings)) if arguments.settings else {}
    try:
        settings = _settings(given.get("capacity", {}))
    except ConfigError as error:
        raise ConfigError(_FIELD, error.rule if error.field == _FIELD else str(error)) from None
    profile = arguments.profile or given.get("capacity_profile", _PROFILE)
    if not isinstance(profile, str):
        raise ConfigError(_FIELD, "capacity_profile must be the name of a profile")
    if profile not in settings.profiles:
        raise ConfigError("--profile", f"must be one of {', '.join(settings.profiles)}")
    return profile, settings


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(_FIELD, f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(_FIELD, f"{file} is not TOML") from None


def _settings(given: Any) -> CapacitySettings:
    known = {one.name for one in fields(CapacitySettings)}
    if not isinstance(given, dict) or not set(given) <= known:
        raise ConfigError(_FIELD, f"capacity must be a table with some of {', '.join(sorted(known))}")
    ladders = {name: _ladder(name, given[name]) for name in ("ram_ladder", "cpu_ladder") if name in given}
    profiles = {"profiles": _profiles(given["profiles"])} if "profiles" in given else {}
    return CapacitySettings(**given | ladders | profiles)


def _ladder(name: str, given: Any) -> tuple[tuple[Any, ...], ...]:
    if not isinstance(given, list) or not all(isinstance(one, list) for one in given):
        raise ConfigError(_FIELD, f"capacity.{name} must be a list of [width, share]")
    return tuple(tuple(one) for one in given)


def _profiles(given: Any) -> dict[str, Profile]:
    known = {one.name for one in fields(Profile)}
    tables = given.values() if isinstance(given, dict) else [given]
    if not all(isinstance(one, dict) and set(one) == known for one in tables):
        raise ConfigError(_FIELD, f"capacity.profiles must have a table with {', '.join(sorted(known))} for each")
    return {name: Profile(**one) for name, one in given.items()}
