"""What must hold at every moment, looked for in the database beside a service that is at work."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.faults import wholeness

if TYPE_CHECKING:
    from tests.e2e.served import Served

AT_WORK: Final = ("queued", "running")
_RUNS: Final = "SELECT id, server_id, kind, state, fence, attempt, error_code, message, lease_owner FROM run"
_OPEN: Final = (
    "SELECT step_log.run_id, step_log.step, run.state FROM step_log JOIN run ON run.id = step_log.run_id "
    "WHERE step_log.completed_at IS NULL AND run.state <> 'running'"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A run, as its row has it."""

    id: str
    server: str
    kind: str
    state: str
    fence: int
    attempt: int
    code: str
    message: str
    owner: str


@dataclass
class Invariants:
    """Looks at the rows, and remembers what may only grow."""

    served: Served
    looks: int = 0
    _fences: dict[str, int] = field(default_factory=dict)
    _ended: dict[str, str] = field(default_factory=dict)

    def look(self) -> list[Row]:
        """Check what must hold at every moment, and return the runs."""
        rows = [Row(*row) for row in self.served.rows(_RUNS)]
        for state in AT_WORK:
            of_each = Counter(row.server for row in rows if row.state == state)
            assert not of_each or max(of_each.values()) == 1, f"more than one run is {state}: {rows}"
        for row in rows:
            assert row.fence >= self._fences.get(row.id, 0), f"a fencing number went back: {row}"
            assert self._ended.get(row.id, row.state) == row.state, f"a run that had ended goes on: {row}"
            self._fences[row.id] = row.fence
            if row.state not in AT_WORK:
                self._ended[row.id] = row.state
        unknown = set(self._fences) - {row.id for row in rows}
        assert not unknown, f"runs are gone: {unknown}"
        still_open = self.served.rows(_OPEN)
        assert not still_open, f"steps that began have no end, though nobody makes their run: {still_open}"
        self.looks += 1
        return rows

    def at_rest(self, *, held: bool = False) -> list[Row]:
        """Check what must hold when nothing goes on, too, where a server may be `held` after its validation or not."""
        rows = self.look()
        wholeness.at_rest(self.served, held=held)
        return rows
