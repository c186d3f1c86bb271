"""The book of a run's steps: what began, what ended, how long it took; every entry is told to the recorder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ocore.errors import ErrorCode, Failure
from ocore.models import RunStatus, StepResult, StepStatus, TaskEvent
from ocore.runs.events import Reading, Seen, StepTally
from ocore.steps import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ocore.recorder import Recorder
    from ocore.steps import Step

_STOPPED: Final = frozenset({ErrorCode.CANCELLED})


@dataclass(frozen=True, slots=True)
class _Open:
    step: str
    at: datetime
    clock: float


class Ledger:
    """Entries for a fixed list of steps, in order; at most one is open."""

    def __init__(self, steps: Sequence[str], recorder: Recorder, known: Mapping[str, Step] = BY_NAME) -> None:
        self.broken: Exception | None = None
        self._known = known
        self._steps = list(steps)
        self._recorder = recorder
        self._open: _Open | None = None
        self._results: dict[str, StepResult] = {}

    @property
    def results(self) -> tuple[StepResult, ...]:
        """The entries that are closed, in the order of the steps."""
        return tuple(self._results[name] for name in self._steps if name in self._results)

    def tell(self, entry: Callable[[Recorder], None]) -> None:
        """Tell the recorder; what it raises is kept, and it is told nothing more."""
        if self.broken is not None:
            return
        try:
            entry(self._recorder)
        except Exception as error:  # noqa: BLE001 - the caller's code may raise anything; it is raised again later
            self.broken = error

    @property
    def idle(self) -> bool:
        """Whether no step is open."""
        return self._open is None

    def began(self, step: str) -> bool:
        """Tell whether a step was begun."""
        return step in self._results or (self._open is not None and self._open.step == step)

    def begin(self, step: str) -> None:
        """Open the entry of a step."""
        self._open = _Open(step, datetime.now(UTC), time.monotonic())
        at = self._open.at
        self.tell(lambda recorder: recorder.step_started(step, at))

    def reach(self, step: str, reading: Reading) -> None:
        """Open a step's entry if it is the next to run; steps before it were already so."""
        if step not in self._steps or self.began(step):
            return
        for earlier in self._steps[: self._steps.index(step)]:
            if not self.began(earlier):
                self._pass_over(earlier, reading)
        self.begin(step)

    def finish(self, step: str, message: str, tally: StepTally | None = None, reading: Reading | None = None) -> None:
        """Close a step's entry as a success."""
        if self._open is None or self._open.step != step:
            return
        tally = tally or StepTally()
        if not message:
            message = self._success_message(step, tally, reading)
        self._close(step, StepStatus.SUCCESS, message, tally)

    def event(self, seen: Seen) -> None:
        """Tell of a task."""
        step = seen.step or (self._open.step if self._open else "")
        kind = seen.kind
        assert kind in {"started", "ok", "changed", "skipped", "failed", "retry", "gap"}  # noqa: S101
        event = TaskEvent(step, seen.task, kind, seen.message, datetime.now(UTC))  # type: ignore[arg-type]
        self.tell(lambda recorder: recorder.task_event(event))

    def gap(self, dropped: object) -> None:
        """Tell that details were dropped."""
        count = dropped if isinstance(dropped, int) else 1
        self.event(Seen("gap", "", "", f"{count} detail(s) were dropped, since they came too fast."))

    def overdue(self) -> str | None:
        """Return the open step if it has taken longer than it may."""
        if self._open is None or time.monotonic() - self._open.clock <= self._known[self._open.step].timeout:
            return None
        return self._open.step

    def settle(self, reading: Reading) -> None:
        """Close what was already so, at the end of a run that succeeded."""
        for step in self._steps:
            if not self.began(step):
                self._pass_over(step, reading)

    def close(self, failure: Failure | None) -> None:
        """Close every entry at the end of a run that did not succeed."""
        if failure is None:
            return
        cancelled = failure.code in _STOPPED
        if self._open is not None:
            status = StepStatus.CANCELLED if cancelled else StepStatus.FAILED
            self._close(self._open.step, status, failure.message, StepTally(), failure)
        for step in self._steps:
            if step not in self._results:
                status = StepStatus.CANCELLED if cancelled else StepStatus.SKIPPED
                words = "The run was cancelled before it." if cancelled else "The run failed before it."
                self._note(step, status, words)

    def status(self, failure: Failure | None) -> RunStatus:
        """Return how the run ended."""
        if failure is None:
            return RunStatus.SUCCESS
        return RunStatus.CANCELLED if failure.code in _STOPPED else RunStatus.FAILED

    def _pass_over(self, step: str, reading: Reading) -> None:
        found = reading.steps.get(step)
        if found is not None and not found.so:
            self._note(step, StepStatus.SKIPPED, f"Not asked for; it is not so: {'; '.join(found.reasons)}.")
        elif step == "verify":
            self._note(step, StepStatus.UNCHANGED, "No step ran, so there is nothing new to verify.")
        elif found is not None and not found.conditions:
            self._note(step, StepStatus.UNCHANGED, "Nothing is asked of it.")
        else:
            looked = f" ({found.conditions} conditions read)" if found else ""
            self._note(step, StepStatus.UNCHANGED, f"Already so{looked}.")

    def _note(self, step: str, status: StepStatus, message: str) -> None:
        """Make an entry for a step that did not run: it ends without having begun."""
        moment = datetime.now(UTC)
        self._enter(StepResult(step, status, message, started_at=moment, finished_at=moment, duration_ms=0))

    def _close(
        self, step: str, status: StepStatus, message: str, tally: StepTally, error: Failure | None = None
    ) -> None:
        assert self._open is not None  # noqa: S101 - callers have looked
        result = StepResult(
            step=step,
            status=status,
            message=message,
            started_at=self._open.at,
            finished_at=datetime.now(UTC),
            duration_ms=int((time.monotonic() - self._open.clock) * 1000),
            changed=tally.changed,
            tasks=tally.tasks,
            error=error,
        )
        self._open = None
        self._enter(result)

    def _enter(self, result: StepResult) -> None:
        self._results[result.step] = result
        self.tell(lambda recorder: recorder.step_finished(result))

    def _success_message(self, step: str, tally: StepTally, reading: Reading | None) -> str:
        if self._known[step].validates:
            return "Done."
        found = reading.steps.get(step) if reading else None
        because = f" It ran since: {'; '.join(found.reasons)}." if found and found.reasons else ""
        return f"{tally.changed} of {tally.tasks} task(s) changed something.{because}"
