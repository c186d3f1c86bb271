"""A plugin of pytest that says, after the tests, how each row of the matrix stands: `-p tests.faults.report`.

With `--row F1` only that row's tests are run, and so on for more of them. The longest files come first.

A test tells how long it took until all was well again with `record_property("recovery", seconds)`, and how often it
tried what it tries with `record_property("runs", count)`; without that it counts once. Other properties are printed
below the matrix. A test that was skipped is an error: then its row is not known to hold.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.faults import matrix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OUTCOMES: Final = ("passed", "failed", "error", "skipped")
OF_ROWS: Final = {"runs", "recovery"}


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

    def verdict(self, tests: list[str]) -> str:
        """Say it in a word; it holds when all of the row's tests have passed."""
        bad = [one for one in self.outcomes.values() if one != "passed"]
        run = {one.partition("[")[0] for one in self.outcomes}
        if not run:
            return "NOT RUN"
        if bad:
            return f"{len(bad)} NOT PASSED"
        return "holds" if run == set(tests) else f"{len(run)} of its {len(tests)} tests run"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of rows."""
    parser.addoption("--row", action="append", choices=[row.id for row in matrix.ROWS], help="a row of the matrix")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of rows that were not chosen."""
    rows = set(config.getoption("--row") or ())
    out = [item for item in items if rows and not rows & _rows(item)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]
    _longest_first(items)


def _longest_first(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests may take longest: at the end they would be alone, and other cores idle."""
    times: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        for mark in item.iter_markers("timeout"):
            times[item.path] = max(times[item.path], float(mark.args[0]))
    items.sort(key=lambda item: -times[item.path])


def _rows(item: pytest.Item) -> set[str]:
    return {row for mark in item.iter_markers(matrix.MARKER) for row in mark.args}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrix: of the rows that were chosen."""
    if terminalreporter.config.option.collectonly:
        return
    standings, tests = _standings(terminalreporter), matrix.tests()
    chosen = terminalreporter.config.getoption("--row") or [row.id for row in matrix.ROWS]
    terminalreporter.section("faults and attacks")
    terminalreporter.write_line("| row | cases | runs | longest | verdict |")
    terminalreporter.write_line("|---|---|---|---|---|")
    for row in (one for one in matrix.ROWS if one.id in chosen):
        one = standings[row.id]
        recovery = "" if one.recovery is None else f"{one.recovery:.1f} s"
        line = f"| {row.id} {row.what} | {len(one.outcomes)} | {one.runs} | {recovery} | {one.verdict(tests[row.id])} |"
        terminalreporter.write_line(line)

    terminalreporter.section("other figures")
    for report in _reports(terminalreporter):
        for name, value in report.user_properties:
            if report.when == "call" and name not in OF_ROWS:
                terminalreporter.write_line(f"{report.nodeid}: {name} {value}")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let nobody take for green what was not run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reports(reporter: pytest.TerminalReporter) -> Iterator[Any]:
    for outcome in OUTCOMES:
        yield from reporter.stats.get(outcome, [])


def _standings(reporter: pytest.TerminalReporter) -> defaultdict[str, Standing]:
    rows_of: defaultdict[str, list[str]] = defaultdict(list)
    for row, tests in matrix.tests().items():
        for test in tests:
            rows_of[test].append(row)
    found: defaultdict[str, Standing] = defaultdict(Standing)
    for report in _reports(reporter):
        for row in rows_of[report.nodeid.partition("[")[0]]:
            found[row].add(report)
    return found
