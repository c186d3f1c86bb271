"""`ocore settings`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from api.settings import described

if TYPE_CHECKING:
    from argparse import Namespace

_HEAD = """# Settings of the service

Each can be given in the environment, or in a TOML file: `ocore.toml` in the service's folder, or the file that
`OCORE_CONFIG` names. The environment goes before the file. This page is made by `ocore settings --markdown`.

| environment | file | default | meaning |
|---|---|---|---|
"""


def settings(arguments: Namespace) -> int:
    """List the settings."""
    if arguments.markdown:
        sys.stdout.write(markdown())
        return 0
    for name, _, default, words in described():
        sys.stdout.write(f"{name} (default: {default or 'empty'})\n    {words}\n")
    return 0


def markdown() -> str:
    """Return the page."""
    rows = [f"| `{name}` | `{key}` | {default} | {words} |\n" for name, key, default, words in described()]
    return _HEAD + "".join(rows)
