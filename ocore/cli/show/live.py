"""Progress on a terminal: the list of steps, redrawn in place, with durations and the current task."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ocore.cli.show import words
from ocore.cli.show.progress import Progress
from ocore.models import StepStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ocore.cli.show.screen import Screen
    from ocore.cli.trust import KeyTrust, Trust
    from ocore.intake.hostkeys import HostKey
    from ocore.models import StepResult, TaskEvent

_STYLES: Final = {
    StepStatus.RUNNING: "cyan",
    StepStatus.SUCCESS: "green",
    StepStatus.UNCHANGED: "green dim",
    StepStatus.FAILED: "bold red",
    StepStatus.SKIPPED: "dim",
    StepStatus.CANCELLED: "yellow",
}


@dataclass(slots=True)
class _Row:
    """One line of the list. A step without status has not begun."""

    step: str
    status: StepStatus | None = None
    began: float = 0.0
    seconds: float | None = None
    detail: str = ""

    def cells(self) -> tuple[Text, Text, Text, Text]:
        style = _STYLES[self.status] if self.status else "dim"
        seconds = time.monotonic() - self.began if self.status is StepStatus.RUNNING else self.seconds
        spent = "" if seconds is None else words.duration(seconds)
        # Text, not markup: a message that begins with "[" is a message.
        return Text(self.step, style), Text(self.status or "", style), Text(spent), Text(self.detail, "dim")


class LiveProgress(Progress):
    """The list of steps. What is known to come is shown from the beginning."""

    def __init__(self, screen: Screen, trust: KeyTrust, steps: Sequence[str]) -> None:
        super().__init__(screen, trust)
        self._rows = {step: _Row(step) for step in steps}
        self._key = Text()
        self._stopping = False
        self._live = Live(
            get_renderable=self._draw, console=Console(file=sys.stdout), refresh_per_second=4, redirect_stderr=False
        )

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        """Draw the last state and leave it there."""
        with contextlib.suppress(OSError):  # the terminal is gone
            self._live.stop()

    def _draw(self) -> Group:
        table = Table.grid(padding=(0, 2))
        # Room for the words of every step; the detail is what a narrow terminal cuts.
        table.add_column(no_wrap=True, min_width=10)
        table.add_column(no_wrap=True, min_width=9)
        table.add_column(no_wrap=True, min_width=11, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis")
        # A list of its own: drawing happens in another thread than recording.
        for row in list(self._rows.values()):
            table.add_row(*row.cells())
        parts = [part for part in (self._key, table) if part is table or self._key.plain]
        if self._stopping:
            parts.append(Text("Stopping; Ctrl-C once more leaves at once.", "yellow"))
        return Group(*parts)

    def show_key(self, key: HostKey, trust: Trust) -> None:
        """Put the key above the list."""
        self._key = Text(words.trusted(key, trust))

    def step_started(self, step: str, at: datetime) -> None:  # noqa: ARG002 - durations need a clock that does not jump
        """Let a step's duration run."""
        self._rows[step] = _Row(step, StepStatus.RUNNING, began=time.monotonic())

    def task_event(self, event: TaskEvent) -> None:
        """Show the current task beside its step."""
        row = self._rows.get(event.step)
        if row:
            row.detail = words.current(event)

    def step_finished(self, result: StepResult) -> None:
        """Show how a step ended."""
        row = self._rows.setdefault(result.step, _Row(result.step))
        row.status, row.seconds, row.detail = result.status, result.duration_ms / 1000, result.message

    def stopping(self) -> None:
        """Show it at the next drawing: a signal's handler must not draw."""
        self._stopping = True
