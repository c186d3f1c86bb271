"""`ProvisionOptions` as arguments: each field is one, with its type, default and words taken from the class."""

from __future__ import annotations

import argparse
import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin, get_type_hints

from ocore.options import ProvisionOptions
from ocore.site import Site

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Collection


OPTIONS: Final = tuple(one.name for one in fields(ProvisionOptions))


def add_options(parser: ArgumentParser, names: Collection[str]) -> None:
    """Add an argument for each of these options. What is not given is left to the class."""
    group = parser.add_argument_group("what the server is to become")
    hints = get_type_hints(ProvisionOptions)
    words = _words()
    for one in fields(ProvisionOptions):
        if one.name not in names:
            continue
        group.add_argument(
            "--" + one.name.replace("_", "-"),
            help=_help(words.get(one.name, ""), one.default),
            default=argparse.SUPPRESS,
            **_kind(hints[one.name]),
        )


def parse_options(arguments: Namespace) -> ProvisionOptions:
    """Return the options that were given; ProvisionOptions checks them."""
    given = vars(arguments)
    chosen = {name: given[name] for name in OPTIONS if name in given}
    if "site" in chosen:
        chosen["site"] = Site.load(Path(chosen["site"]))
    return ProvisionOptions(**chosen)


def _kind(hint: Any) -> dict[str, Any]:
    if hint is bool:
        return {"action": "store_true"}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if hint == Site | None:
        return {"metavar": "DIR"}
    return {"type": int, "metavar": "N"} if hint is int else {"metavar": "TEXT"}


def _help(words: str, default: object) -> str:
    shown = "" if default in (False, "", None) else f" (default: {default})"
    return f"{words.rstrip('.')}{shown}".replace("%", "%%")


def _words() -> dict[str, str]:
    """Read what the class's docstring says of each attribute."""
    return dict(re.findall(r"^    (\w+): (.+)$", inspect.getdoc(ProvisionOptions) or "", re.MULTILINE))
