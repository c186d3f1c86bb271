"""A plugin of pytest that says, after the tests, how each row of the matrix stands: `-p tests.faults.report`.

A test tells how long recovery took with `record_property("recovery", seconds)`, and how often it tried what it tries
with `record_property("runs", count)`; without that it counts once.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.faults import matrix

if TYPE_CHECKING:
    import pytest


@dataclass
class Standing:
    """How a row's tests went."""

    outcomes: dict[str, str] = field(default_factory=dict)
    runs: int = 0
    recovery: float | None = None

    def add(self, report: Any) -> None:
        """Take what one test has told."""
        if report.when != "call" and report.outcome == "passed":
            return
        self.outcomes[report.nodeid] = report.outcome
        told: dict[str, Any] = dict(report.user_properties)
        self.runs += int(told.get("runs", 1))
        for name, value in report.user_properties:
            if name == "recovery":
                self.recovery = max(self.recovery or 0.0, float(value))

    def verdict(self) -> str:
        """Say it in a word."""
        bad = [one for one in self.outcomes.values() if one != "passed"]
        if not self.outcomes:
            return "NOT RUN"
        return f"{len(bad)} NOT PASSED" if bad else "holds"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrix."""
    standings = _standings(terminalreporter)
    terminalreporter.section("faults and attacks")
    terminalreporter.write_line("| row | tests | runs | worst recovery | |")
    terminalreporter.write_line("|---|---|---|---|---|")
    for row in matrix.ROWS:
        one = standings[row.id]
        recovery = "" if one.recovery is None else f"{one.recovery:.1f} s"
        line = f"| {row.id} {row.what} | {len(one.outcomes)} | {one.runs} | {recovery} | {one.verdict()} |"
        terminalreporter.write_line(line)


def _standings(reporter: pytest.TerminalReporter) -> defaultdict[str, Standing]:
    rows_of: defaultdict[str, list[str]] = defaultdict(list)
    for row, tests in matrix.tests().items():
        for test in tests:
            rows_of[test].append(row)
    found: defaultdict[str, Standing] = defaultdict(Standing)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in reporter.stats.get(outcome, []):
            for row in rows_of[report.nodeid.partition("[")[0]]:
                found[row].add(report)
    return found
