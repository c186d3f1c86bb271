"""A program that uses the library as others would: one run, told line by line, cancelled by a line of input.

It is started by path, with the order as the first line of its standard input.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import ocore
from ocore.steps import BY_NAME

if TYPE_CHECKING:
    from datetime import datetime


def say(**words: Any) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(words, default=str) + "\n")
    sys.stdout.flush()


class Teller(ocore.NullRecorder):
    """Says what happens."""

    def step_started(self, step: str, at: datetime) -> None:  # noqa: ARG002 - the order is enough
        """Say which step began."""
        say(began=step)

    def task_event(self, event: ocore.TaskEvent) -> None:
        """Say all of a task's event."""
        say(event=dataclasses.asdict(event))

    def step_finished(self, result: ocore.StepResult) -> None:
        """Say how a step ended."""
        say(step=result.step, status=result.status, message=result.message)

    def facts(self, specs: ocore.HardwareSpecs) -> None:
        """Say the facts."""
        say(specs=dataclasses.asdict(specs))


def _cancel_on_word(cancel: threading.Event) -> None:
    # Not through sys.stdin: a thread that waits there keeps the interpreter from ending.
    if os.read(0, 1):
        cancel.set()


def main() -> None:
    """Obey one order."""
    order = json.loads(sys.stdin.readline())
    for step, seconds in order.get("step_timeouts", {}).items():
        BY_NAME[step] = dataclasses.replace(BY_NAME[step], timeout=seconds)
    cancel = threading.Event()
    threading.Thread(target=_cancel_on_word, args=(cancel,), daemon=True).start()
    result = ocore.provision(
        ocore.Server(credentials=ocore.Credentials(**order["credentials"]), **order["server"]),
        ocore.ProvisionOptions(**order["options"]),
        recorder=Teller(),
        steps=order.get("steps", ()),
        cancel=cancel,
        timeout=order.get("timeout", 600),
    )
    say(status=result.status, isolation=result.isolation, code=result.error.code if result.error else None)


if __name__ == "__main__":
    main()
