"""What a command has to say at its end: the same for people and for machines."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ocore.cli.exits import BY_STATUS, Exit
from ocore.cli.show import shapes, words
from ocore.models import RunStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocore.errors import ConfigError
    from ocore.models import RunResult

CONFIG_ERROR = "config_error"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Attributes:
        body: what a machine reads, besides `status` and `error`.
        lines: what a person reads.
        exit: the exit code.
        error: why it failed, as a machine reads it.
        complaint: the same as lines for standard error.

    """

    body: dict[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()
    exit: Exit = Exit.OK
    error: dict[str, Any] | None = None
    complaint: Sequence[str] = ()

    @property
    def status(self) -> RunStatus:
        """Success, failed or cancelled. Drift that was found is a success."""
        if self.exit is Exit.CANCELLED:
            return RunStatus.CANCELLED
        return RunStatus.FAILED if self.exit in (Exit.FAILED, Exit.USAGE) else RunStatus.SUCCESS

    def extended(self, body: dict[str, Any], lines: Sequence[str]) -> Outcome:
        """Return the outcome with more to say."""
        return dataclasses.replace(self, body=self.body | body, lines=[*self.lines, *lines])

    def to_dict(self, command: str) -> dict[str, Any]:
        """Return the last line of `--json`."""
        head = {"type": "result", "command": command, "status": self.status, "exitCode": self.exit}
        return {**head, "error": self.error, **self.body}


def of_run(result: RunResult, place: str, body: dict[str, Any] | None = None, lines: Sequence[str] = ()) -> Outcome:
    """Make the outcome of a run; `place` is what `forget-host-key` would take, if a pin was at work."""
    return Outcome(
        body=body or {},
        lines=lines,
        exit=BY_STATUS[result.status],
        error=shapes.failure(result.error),
        complaint=words.failure(result.error, place) if result.error else (),
    )


def of_config_error(error: ConfigError, leave: Exit = Exit.USAGE) -> Outcome:
    """Make the outcome of an argument, a file or a key that is wrong."""
    described = {
        "code": error.code or CONFIG_ERROR,
        "message": str(error),
        "remedy": "",
        "retryable": False,
        "field": error.field,
    }
    return Outcome(exit=leave, error=described, complaint=[f"ocore: {error}"])
