"""From Ansible's events to steps: what began, what ended and how.

An event counts only if it carries the playbook id that Ansible made for this run: a host can print text that
ansible-runner takes for an event, but cannot know that id. A step has succeeded only if its marker came, too: a task
on this machine prints it, with a number that no host ever sees.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ocore.errors import ErrorCode, Failure
from ocore.models import StepReading
from ocore.steps import VALIDATION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocore.intake.scrub import Scrubber

MAX_MESSAGE: Final = 600
MAX_REASONS: Final = 10
_CODED: Final = re.compile(r"\[([a-z_]+)\] (.*)", re.DOTALL)
# The codes that a role may name itself; the others are ours to give.
_ROLE_CODES: Final = frozenset(
    {
        ErrorCode.ARCH_UNSUPPORTED,
        ErrorCode.CLOCK_SKEWED,
        ErrorCode.DISK_LOW,
        ErrorCode.DOCKER_TOO_OLD,
        ErrorCode.EGRESS_BLOCKED,
        ErrorCode.FOREIGN_MANAGER,
        ErrorCode.INIT_UNSUPPORTED,
        ErrorCode.MEMORY_LOW,
        ErrorCode.OS_UNSUPPORTED,
        ErrorCode.PACKAGE_LOCK,
        ErrorCode.PORT_IN_USE,
        ErrorCode.PYTHON_MISSING,
        ErrorCode.SUDO_MISSING,
        ErrorCode.VERIFY_FAILED,
    }
)


@dataclass
class StepTally:
    """What was seen of one step while it runs."""

    tasks: int = 0
    changed: int = 0
    marked: bool = False


@dataclass
class Reading:
    """What a look at the server said."""

    steps: dict[str, StepReading] = field(default_factory=dict)

    @property
    def due(self) -> list[str]:
        """The steps that are to run."""
        return [name for name, reading in self.steps.items() if reading.due]


@dataclass(frozen=True)
class Seen:
    """What one event means, for the engine to act on."""

    kind: str
    step: str
    task: str = ""
    message: str = ""


class EventParser:
    """Folds the events of one playbook into tallies, readings and facts."""

    def __init__(self, nonce: str, expected: Sequence[str], scrub: Scrubber) -> None:
        self.tallies = {name: StepTally() for name in expected}
        # The newest look, and the one before anything ran: what a plan says.
        self.reading = Reading()
        self.first = Reading()
        self.facts: dict[str, Any] | None = None
        self.notes: list[str] = []
        self.complaint = ""
        self._expected = list(expected)
        self._failures: list[Failure] = []
        self.nonce = nonce
        self._scrub = scrub
        self._playbook: str | None = None
        self._handlers: dict[str, Callable[[str, dict[str, Any]], list[Seen]]] = {
            "playbook_on_task_start": self._task_started,
            "runner_on_ok": self._task_ok,
            "runner_on_skipped": self._task_skipped,
            "runner_on_failed": self._task_failed,
            "runner_item_on_failed": self._item_failed,
            "runner_on_unreachable": self._unreachable,
            "runner_retry": self._retried,
            "error": self._complained,
            "verbose": self._complained,
        }

    @property
    def failure(self) -> Failure | None:
        """Why the play failed, if it did: a task that failed may have been rescued.

        The last failure is what the play ended with; one that a role names with a code says more than one without.
        """
        named = [one for one in self._failures if one.code is not ErrorCode.STEP_FAILED]
        found = named or self._failures
        return found[-1] if found else None

    def feed(self, event: dict[str, Any]) -> list[Seen]:
        """Take in one event and return what it means."""
        kind = event.get("event")
        if kind == "playbook_on_start" and self._playbook is None:
            self._playbook = event.get("playbook_uuid")
            return []
        if kind not in {"error", "verbose"} and (
            self._playbook is None or event.get("playbook_uuid") != self._playbook
        ):
            return []
        handler = self._handlers.get(str(kind))
        return handler(self._step_of(event), event) if handler else []

    def _step_of(self, event: dict[str, Any]) -> str:
        role = event.get("role")
        if isinstance(role, str) and role in self.tallies:
            return role
        name, _, step = str(event.get("task") or "").partition(" ")
        return step if name in {"Step", "Mark"} and step in self.tallies else ""

    def _text(self, value: Any) -> str:
        return self._scrub.plain(value, MAX_MESSAGE) if isinstance(value, str) else ""

    def _task_started(self, step: str, event: dict[str, Any]) -> list[Seen]:
        task = self._text(event.get("task"))
        return [Seen("started", step, task)] if step and event.get("role") else []

    def _task_ok(self, step: str, event: dict[str, Any]) -> list[Seen]:
        task, result = self._text(event.get("task")), event["result"]
        # A role may name its tasks as it likes; markers are tasks of the playbook.
        if task.startswith("Mark ") and not event.get("role"):
            return self._marked(step, result)
        self._take_in(result, of_role=bool(event.get("role")))
        if not step or not event.get("role"):
            return []
        tally = self.tallies[step]
        tally.tasks += 1
        changed = result.get("changed") is True
        tally.changed += changed
        return [Seen("changed" if changed else "ok", step, task, self._text(result.get("msg")))]

    def _marked(self, step: str, result: dict[str, Any]) -> list[Seen]:
        if not step or result.get("msg") != f"{self.nonce}:{step}":
            return []
        self.tallies[step].marked = True
        return [Seen("marked", step)]

    def _take_in(self, result: dict[str, Any], *, of_role: bool) -> None:
        """Keep what our own modules report: readings, facts and notes.

        A role that looks looks at its own things only: what is due is said by the play's look.
        """
        if isinstance(result.get("look"), dict) and isinstance(result.get("due"), list) and not of_role:
            self.reading = _with_first_reasons(parse_reading(result, self._expected, self._text), self.reading)
            if not self.first.steps:
                self.first = Reading(dict(self.reading.steps))
        if isinstance(result.get("facts"), dict):
            self.facts = result["facts"]
        for name in ("notes", "warnings"):
            texts = result.get(name)
            if name == "notes" or isinstance(result.get("findings"), list):
                self.notes += [self._text(one) for one in texts[:50]] if isinstance(texts, list) else []

    def _task_skipped(self, step: str, event: dict[str, Any]) -> list[Seen]:
        return [Seen("skipped", step, self._text(event.get("task")))] if step and event.get("role") else []

    def _task_failed(self, step: str, event: dict[str, Any]) -> list[Seen]:
        task = self._text(event.get("task"))
        message = self._failure_text(event["result"])
        if event.get("ignore_errors"):
            return [Seen("ok", step, task, message)]
        self._failures.append(_coded(message) or Failure(ErrorCode.STEP_FAILED, f"The task {task!r} failed: {message}"))
        return [Seen("failed", step, task, self._failures[-1].message)]

    def _item_failed(self, _step: str, _event: dict[str, Any]) -> list[Seen]:
        return []  # the task's own event, which follows, names the item's message

    def _failure_text(self, result: dict[str, Any]) -> str:
        if result.get("censored"):
            return "its output is hidden, since a secret may be in it"
        item = result.get("item")
        if isinstance(item, dict):
            return self._failure_text(item)
        texts = [self._text(result.get(name)) for name in ("msg", "stderr", "module_stderr", "stdout")]
        useful = [text for text in texts if text and not text.startswith(("non-zero return code", "MODULE FAILURE"))]
        return useful[0] if useful else (texts[0] or "no message")

    def _unreachable(self, step: str, event: dict[str, Any]) -> list[Seen]:
        message = self._text(event["result"].get("msg"))
        words = f"The connection broke: {message or 'the host stopped answering'}"
        self._failures.append(Failure(ErrorCode.CONNECTION_LOST, words))
        return [Seen("failed", step, self._text(event.get("task")), words)]

    def _retried(self, step: str, event: dict[str, Any]) -> list[Seen]:
        result = event["result"]
        tries = f"try {result.get('attempts')}" if isinstance(result.get("attempts"), int) else "waiting"
        return [Seen("retry", step, self._text(event.get("task")), f"{self._text(result.get('msg'))} ({tries})")]

    def _complained(self, _step: str, event: dict[str, Any]) -> list[Seen]:
        self.complaint = self.complaint or self._text(_without_traceback(event.get("text"))).removeprefix("[ERROR]: ")
        return []


def _with_first_reasons(reading: Reading, first: Reading) -> Reading:
    """Return a later reading with the reasons for which its steps became due: by now they may be mended."""
    for name, step in reading.steps.items():
        if step.due and not step.reasons and name in first.steps:
            reading.steps[name] = dataclasses.replace(step, reasons=first.steps[name].reasons)
    return reading


def _without_traceback(text: Any) -> Any:
    """Return Ansible's words with only the end of a traceback of its own: what went wrong, not where in its code."""
    if not isinstance(text, str):
        return text
    words, traceback, rest = text.partition("Traceback (most recent call last):")
    return f"{words.rstrip()} {rest.strip().splitlines()[-1]}".strip() if traceback and rest.strip() else text


def _coded(message: str) -> Failure | None:
    """Return the failure that a role names itself, as "[code] words"."""
    match = _CODED.match(message)
    if match is None or match[1] not in _ROLE_CODES:
        return None
    return Failure(ErrorCode(match[1]), match[2])


def parse_reading(result: dict[str, Any], expected: Sequence[str], text: Callable[[Any], str]) -> Reading:
    """Return what `ocore_look` reports, for the steps that this run knows, in their order."""
    due = {one for one in result["due"] if isinstance(one, str)}
    reading = Reading()
    for name in expected:
        found = result["look"].get(name)
        if not isinstance(found, dict):
            found = {"so": name not in due, "conditions": 0, "reasons": []}
        reasons = found.get("reasons")
        words = tuple(text(one) for one in reasons[:MAX_REASONS]) if isinstance(reasons, list) else ()
        conditions = found.get("conditions")
        if name in VALIDATION:
            continue
        reading.steps[name] = StepReading(
            step=name,
            so=found.get("so") is True,
            due=name in due,
            reasons=words,
            conditions=conditions if isinstance(conditions, int) else 0,
        )
    return reading
