"""`ocore debug-bundle`: what somebody elsewhere needs to make a run again by hand."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ocore.bundle import KINDS, DebugRun, debug_bundle
from ocore.cli.options import parse_options
from ocore.errors import ConfigError
from ocore.site import chosen_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocore.cli.session import Session

_MOST: Final = 64 * 2**20
_NO_LOG: Final = "must be what a run with --json printed, and nothing else"
# A plan is the same look as drift.
_SAME: Final = {"plan": "drift"}


def write(session: Session) -> Path:
    """Write the bundle, and return where."""
    arguments = session.arguments
    told = _read(Path(arguments.log)) if arguments.log else []
    name, options, asked = _name(told), parse_options(arguments), _asked(told)
    run = DebugRun(
        name,
        kind=_kind(told),
        steps=chosen_steps(arguments.step or asked["steps"], options.site),
        force=arguments.force or asked["force"],
        check=arguments.check or asked["check"],
        record={"events.jsonl": "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in told)} if told else {},
    )
    file = Path(arguments.output or f"ocore-debug-{name}.tar.gz").absolute()
    data = debug_bundle(session.server(session.trust()), run, options)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
            opened.write(data)
    except OSError as error:
        raise ConfigError("--output", f"cannot be written to: {error.strerror}") from None
    return file


def _read(file: Path) -> Sequence[dict[str, Any]]:
    """Return the objects that a run with `--json` printed."""
    try:
        with file.open(encoding="utf-8") as opened:
            told = [json.loads(line) for line in opened.read(_MOST).splitlines()]
    except OSError as error:
        raise ConfigError("--log", f"cannot be read: {error.strerror}") from None
    except ValueError:
        told = []
    if not told or not all(isinstance(one, dict) and "type" in one for one in told):
        raise ConfigError("--log", _NO_LOG)
    return told


def _name(told: Sequence[dict[str, Any]]) -> str:
    """Name the bundle after the run, or after the moment where no run is known."""
    known = str(told[-1].get("runId") or "") if told else ""
    return known or time.strftime("%Y%m%d-%H%M%S", time.gmtime())


def _asked(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return which steps a run was asked for, whether by force, and whether it was to change nothing."""
    asked: dict[str, Any] = {"steps": [], "force": False, "check": False}
    given = told[-1].get("asked", {}) if told else {}
    found = asked | given if isinstance(given, dict) else {}
    if not found or any(type(found[name]) is not type(one) for name, one in asked.items()):
        raise ConfigError("--log", _NO_LOG)
    if not all(isinstance(one, str) for one in found["steps"]):
        raise ConfigError("--log", _NO_LOG)
    return found


def _kind(told: Sequence[dict[str, Any]]) -> str:
    command = str(told[-1].get("command", "")) if told else "provision"
    kind = _SAME.get(command, command)
    if kind not in KINDS:
        raise ConfigError("--log", f"must end with the result of {', '.join(KINDS)} or plan")
    return kind
