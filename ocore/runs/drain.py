"""Ending what a stopped run left on the server: a new connection finds it by the run's cookie."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ocore.runs.login import login_order

if TYPE_CHECKING:
    from ocore.intake.hostkeys import HostKey
    from ocore.models import Server
    from ocore.transport import Transport

# With what came before it, a stop takes no more than 5 s; what is left then is the next run's to end.
SECONDS: Final = 4.0


def drain(transport: Transport, server: Server, where: str, key: HostKey, run: str) -> bool:
    """End what one run left on the server; False where it did not answer in time (then the next run does it)."""
    try:
        process = transport.start(server)
    except OSError:
        return False
    deadline = time.monotonic() + SECONDS
    try:
        process.order(login_order(server, where, key, run, drain="own", plays=False))
        for answer in process.answers():
            if answer is not None and answer.get("type") == "login":
                answers = answer.get("answers") or {}
                return "end" in answers and "undrained" not in answers
            if time.monotonic() > deadline:
                return False
        return False
    finally:
        process.end()
