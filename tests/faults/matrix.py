"""The matrix: each fault and attack with what is promised under it, and the tests that show it. Its rows are TOML.

`python -m tests.faults.matrix` writes them with their tests into docs/reliability.md and docs/threat-model.md, which a
test compares.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TESTS: Final = Path(__file__).parents[1]
DOCS: Final = TESTS.parent / "docs"
MARKER: Final = "promise"


@dataclass(frozen=True, slots=True)
class Row:
    """One fault or attack.

    Attributes:
        id: what tests name it by.
        what: the fault, or what the attacker does.
        promise: what holds nevertheless.
        limit: what of it is not made here, and why.

    """

    id: str
    what: str
    promise: str
    limit: str = ""


_GIVEN: Final = tomllib.loads((Path(__file__).parent / "matrix.toml").read_text(encoding="utf-8"))
FAULTS: Final = tuple(Row(**row) for row in _GIVEN["fault"])
ATTACKS: Final = tuple(Row(**row) for row in _GIVEN["attack"])
ROWS: Final = (*FAULTS, *ATTACKS)


def tests() -> dict[str, list[str]]:
    """Return the tests of each row, by the markers in the tests' source."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(TESTS.rglob("test_*.py")):
        for name, ids in _marked(ast.parse(file.read_text(encoding="utf-8"))):
            for row in ids:
                found[row].append(f"{file.relative_to(TESTS.parent)}::{name}")
    return dict(found)


def _marked(module: ast.Module) -> Iterator[tuple[str, list[str]]]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            ids = [row for decorator in node.decorator_list for row in _promises(decorator)]
            if ids:
                yield node.name, ids


def _promises(decorator: ast.expr) -> list[str]:
    if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute) and decorator.func.attr == MARKER:
        return [ast.literal_eval(argument) for argument in decorator.args]
    return []


def table(rows: Iterable[Row], heading: str) -> str:
    """Return rows with their tests as Markdown."""
    found = tests()
    lines = [_opening(heading).rstrip(), "|---|---|---|---|"]
    for row in rows:
        names = "<br>".join(f"`{_short(test)}`" for test in found.get(row.id, []))
        promise = row.promise + (f" (not made here: {row.limit})" if row.limit else "")
        lines.append(f"| {row.id} | {row.what} | {promise} | {names} |")
    return "\n".join(lines)


def _short(test: str) -> str:
    return test.removeprefix("tests/").replace("::test_", "::").removesuffix(".py")


def page(text: str, rows: Iterable[Row], heading: str) -> str:
    """Return a page with the table of today in the place of the one that it has."""
    before, opening, rest = text.partition(_opening(heading))
    if not opening:
        raise ValueError(f"the page has no table of each {heading}")
    return before + table(rows, heading) + rest[rest.index("\n\n") :]


def _opening(heading: str) -> str:
    return f"| | {heading} | what holds | tests |\n"


PAGES: Final = {"reliability.md": (FAULTS, "fault"), "threat-model.md": (ATTACKS, "attack")}

if __name__ == "__main__":
    for name, (rows, heading) in PAGES.items():
        file = DOCS / name
        file.write_text(page(file.read_text(encoding="utf-8"), rows, heading), encoding="utf-8")
