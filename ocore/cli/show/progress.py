"""Progress of a run, as plain lines or as JSON objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ocore.cli.show import shapes, words
from ocore.cli.stopping import say_stopping
from ocore.cli.trust import Trust
from ocore.recorder import NullRecorder

if TYPE_CHECKING:
    from datetime import datetime

    from ocore.cli.show.screen import Screen
    from ocore.cli.trust import KeyTrust
    from ocore.intake.hostkeys import HostKey
    from ocore.models import StepResult, TaskEvent
    from ocore.specs import HardwareSpecs

_TOLD = frozenset({"changed", "failed", "retry", "warning", "gap"})


class Progress(NullRecorder):
    """Shows a run while it goes on, and keeps the host key that it meets."""

    def __init__(self, screen: Screen, trust: KeyTrust) -> None:
        self.screen = screen
        self.trust = trust

    def __enter__(self) -> Self:
        """Begin to show."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """Leave the last state on the screen."""

    def host_key_seen(self, key: HostKey) -> None:
        """Pin the key where it is new, and show it."""
        self.show_key(key, self.trust.accept(key))

    def show_key(self, key: HostKey, trust: Trust) -> None:
        """Show the server's key."""

    def stopping(self) -> None:
        """Say that the run is being stopped; called by a signal's handler."""
        say_stopping()


class QuietProgress(Progress):
    """Nothing but a key that is not pinned yet, on standard error: what comes by pipe is the result alone."""

    def show_key(self, key: HostKey, trust: Trust) -> None:
        """Say it where somebody may have to compare it."""
        if trust is not Trust.PINNED:
            self.screen.complain([words.trusted(key, trust)])


class PlainProgress(Progress):
    """One line for each thing worth telling."""

    def __init__(self, screen: Screen, trust: KeyTrust) -> None:
        super().__init__(screen, trust)
        self._silent = ""

    def show_key(self, key: HostKey, trust: Trust) -> None:
        """Write it with its fingerprint."""
        self.screen.lines([words.trusted(key, trust)])

    def step_started(self, step: str, at: datetime) -> None:  # noqa: ARG002 - lines carry durations, not times
        """Remember that a step began: it is worth a line only if tasks of it run."""
        self._silent = step

    def task_event(self, event: TaskEvent) -> None:
        """Write what changed, failed or is waited for."""
        if event.step and event.step == self._silent:
            self._silent = ""
            self.screen.lines([words.step_started(event.step)])
        if event.kind in _TOLD:
            self.screen.lines([words.task(event)])

    def step_finished(self, result: StepResult) -> None:
        """Write how a step ended."""
        self.screen.lines([words.step_finished(result)])


class JsonProgress(Progress):
    """One object for each thing that happens."""

    def show_key(self, key: HostKey, trust: Trust) -> None:
        """Write it with the reason for which it is trusted."""
        self.screen.object({"type": "hostKey", "hostKey": shapes.host_key(key), "trust": trust})

    def step_started(self, step: str, at: datetime) -> None:
        """Write that a step began."""
        self.screen.object({"type": "stepStarted", "step": step, "at": shapes.time(at)})

    def task_event(self, event: TaskEvent) -> None:
        """Write every event."""
        self.screen.object({"type": "task", **shapes.task(event)})

    def step_finished(self, result: StepResult) -> None:
        """Write how a step ended."""
        self.screen.object({"type": "stepFinished", **shapes.step_result(result)})

    def facts(self, specs: HardwareSpecs) -> None:
        """Write the hardware."""
        self.screen.object({"type": "specs", "specs": shapes.specs(specs)})
