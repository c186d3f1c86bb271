"""How progress leaves the library while a run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from ocore.intake.hostkeys import HostKey
    from ocore.models import StepResult, TaskEvent
    from ocore.specs import HardwareSpecs


class Recorder(Protocol):
    """Is told what happens, from the thread that called the library.

    What it raises stops the run at the next step boundary, as a `RecorderError`: a broken log must not leave a server
    half configured.
    """

    def address_found(self, address: str) -> None:
        """Take note of the address that the run goes to, an SSH server at it; raising here stops the run at once."""

    def host_key_seen(self, key: HostKey) -> None:
        """Take note of the server's key, before any credential is sent; raising here stops the run at once."""

    def step_started(self, step: str, at: datetime) -> None:
        """Take note that a step begins."""

    def task_event(self, event: TaskEvent) -> None:
        """Take note of something that a task reported. Boundaries are never dropped; details may be."""

    def step_finished(self, result: StepResult) -> None:
        """Take note of how a step ended; one that did not run (already so, or not reached) has not begun either."""

    def facts(self, specs: HardwareSpecs) -> None:
        """Take note of the hardware, as soon as it is known and again when it was read again."""


class NullRecorder:
    """Takes note of nothing. Also a base for recorders that care about some of it."""

    def address_found(self, address: str) -> None:
        """Do nothing."""

    def host_key_seen(self, key: HostKey) -> None:
        """Do nothing."""

    def step_started(self, step: str, at: datetime) -> None:
        """Do nothing."""

    def task_event(self, event: TaskEvent) -> None:
        """Do nothing."""

    def step_finished(self, result: StepResult) -> None:
        """Do nothing."""

    def facts(self, specs: HardwareSpecs) -> None:
        """Do nothing."""
