"""A program of ours whose wall clock jumps: `python -m tests.faults.shifted FILE MODULE ARGUMENTS`.

The file says how many seconds it is ahead, and may be written anew while the program runs. What measures durations is
left alone, as it is when somebody sets a machine's clock. (libfaketime shifts what is slept, too.)
"""

from __future__ import annotations

import importlib
import runpy
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

_TIME = time.time
# Where somebody asks for the date. Types are known by the true class, so that it is replaced only there.
_ASKING = ("api.data.database", "api.data.tables.columns", "api.security.keyring", "jwt.api_jwt", "ocore.runs.ledger")
_FILE = Path(sys.argv[1]) if __name__ == "__main__" else Path()


class Shifted(datetime):
    """What gives a "now" that is elsewhere."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        """Return the time by this clock."""
        return datetime.now(tz) + timedelta(seconds=_ahead())


def _ahead() -> int:
    return int(_FILE.read_text(encoding="ascii"))


def main() -> None:
    """Shift the clock, and become the program."""
    for name in _ASKING:
        module = importlib.import_module(name)
        assert vars(module)["datetime"] is datetime
        vars(module)["datetime"] = Shifted
    time.time = lambda: _TIME() + _ahead()
    _, _, program, *arguments = sys.argv
    sys.argv = [program, *arguments]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
