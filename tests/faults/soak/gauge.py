"""What processes of the service need, again and again, and whether it becomes more."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.e2e.served import Program

# How much the last quarter's figure may be above the second one's; the first one is for warming up.
ALLOWED: Final = 0.10
# So much is no growth of anything, however little there was.
_SLACK: Final = {"RSS, MiB": 5.0, "file descriptors": 3.0, "threads": 3.0}


def _measured(pid: int) -> dict[str, float]:
    """Return what a process needs now."""
    said = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    status = dict(line.split(":", 1) for line in said.splitlines())
    return {
        "RSS, MiB": int(status["VmRSS"].split()[0]) / 1024,
        "file descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(status["Threads"]),
    }


@dataclass(frozen=True)
class Course:
    """How one figure of one process went.

    Attributes:
        process: whose.
        figure: what.
        early: what it was in the second quarter of the time when little was under way: a tenth of what was measured is
            below that. What is under way varies with the load; what was forgotten stays.
        late: the same in the last quarter.
        most: the most that was seen.

    """

    process: str
    figure: str
    early: float
    late: float
    most: float

    @property
    def is_flat(self) -> bool:
        """Whether it did not grow by more than is allowed."""
        return self.late - self.early <= max(_SLACK[self.figure], self.early * ALLOWED)


@dataclass
class Gauge:
    """The figures of some processes over time."""

    programs: Sequence[Program]
    seen: list[dict[tuple[str, str], float]] = field(default_factory=list)
    _due: float = 0.0

    def look(self, every: float) -> None:
        """Measure, if that is due."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + every
        self.seen.append(
            {
                (program.role, figure): value
                for program in self.programs
                for figure, value in _measured(program.pid).items()
            }
        )

    def courses(self) -> Iterator[Course]:
        """Yield how each figure went."""
        if not self.seen:
            return
        quarter = max(1, len(self.seen) // 4)
        for process, figure in self.seen[-1]:
            values = [one[process, figure] for one in self.seen]
            yield Course(
                process, figure, _low(values[quarter : 2 * quarter] or values), _low(values[-quarter:]), max(values)
            )


def _low(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 10]
