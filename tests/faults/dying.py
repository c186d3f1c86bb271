"""Lets a worker die between what happened and what is written down of it; not one of our modules.

`tests.faults.marked` puts it beside its copy of the product as `sitecustomize`, which Python loads when it starts. The
environment of one process says at which moment it is to die: before a step's end is written, or before the run's.
"""

from __future__ import annotations

import os
import signal
from typing import Any, NoReturn

_MOMENT = os.environ.get("OCORE_TEST_DIES", "")


def _die(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


if _MOMENT:
    from api.work import outcome
    from api.work.recorder import RowRecorder

    _finished = RowRecorder.step_finished

    def _die_after_step(self: RowRecorder, result: Any) -> None:
        if result.step == _MOMENT:
            _die()
        _finished(self, result)

    if _MOMENT == "end":
        outcome.finish = _die  # type: ignore[assignment]
    else:
        RowRecorder.step_finished = _die_after_step  # type: ignore[method-assign]
