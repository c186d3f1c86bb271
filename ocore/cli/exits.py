"""The exit codes, which scripts rely on."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ocore.models import RunStatus


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DRIFT = 3
    CANCELLED = 130


MEANINGS: Final = {
    Exit.OK: "the command did what it was asked",
    Exit.FAILED: "the run failed, or a receipt is not to be believed; the error says why",
    Exit.USAGE: "an argument, a key or a file is wrong; nothing was contacted",
    Exit.DRIFT: "drift: at least one step is no longer so",
    Exit.CANCELLED: "stopped by Ctrl-C, SIGTERM or SIGHUP",
}

BY_STATUS: Final = {
    RunStatus.SUCCESS: Exit.OK,
    RunStatus.FAILED: Exit.FAILED,
    RunStatus.CANCELLED: Exit.CANCELLED,
}
