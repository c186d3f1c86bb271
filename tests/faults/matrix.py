"""The matrix: each fault and attack with what is promised under it, and the tests that show it. Its rows are TOML.

`python -m tests.faults.matrix` writes them with their tests, and the guards that can be broken, into
docs/reliability.md and docs/threat-model.md, which a test compares.
"""

from __future__ import annotations

import argparse
import ast
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.faults import mutations

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
    """Yield the marked tests; a mark that stands anywhere else would be for nothing, and is refused."""
    marks = sum(bool(_promises(node)) for node in ast.walk(module) if isinstance(node, ast.expr))
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            promises = [_promises(decorator) for decorator in node.decorator_list]
            marks -= sum(map(bool, promises))
            if ids := [row for of_one in promises for row in of_one]:
                yield node.name, ids
    if marks:
        raise ValueError(f"a mark `{MARKER}` is not that of a test function")


def _promises(decorator: ast.expr) -> list[str]:
    if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute) and decorator.func.attr == MARKER:
        return [ast.literal_eval(argument) for argument in decorator.args]
    return []


def table(rows: Iterable[Row]) -> str:
    """Return rows with their tests as Markdown."""
    found = tests()
    lines = ["|---|---|---|---|"]
    for row in rows:
        names = "<br>".join(f"`{_short(test)}`" for test in found.get(row.id, []))
        promise = row.promise + (f" (limit: {row.limit})" if row.limit else "")
        lines.append(f"| {row.id} | {row.what} | {promise} | {names} |")
    return "\n".join(lines)


def guards() -> str:
    """Return the guards with what shows that each is there, as Markdown."""
    lines = [f"| {one.guard} | `{one.module}` | `{_short(one.test)}` |" for one in mutations.all_of_them()]
    return "\n".join(["|---|---|---|", *lines])


def _short(test: str) -> str:
    return test.removeprefix("tests/")


# The first line of each table, and what follows it.
_FAULTS: Final = "| | fault | what holds | tests |\n"
_ATTACKS: Final = "| | attack | what holds | tests |\n"
_GUARDS: Final = "| guard | broken in | what turns red |\n"
PAGES: Final = {"reliability.md": (_FAULTS, _GUARDS), "threat-model.md": (_ATTACKS,)}
_TABLES: Final = {_FAULTS: lambda: table(FAULTS), _ATTACKS: lambda: table(ATTACKS), _GUARDS: guards}


def page(name: str) -> str:
    """Return a page with the tables of today in the place of those that it has."""
    text = (DOCS / name).read_text(encoding="utf-8")
    for first in PAGES[name]:
        before, opening, rest = text.partition(first)
        if not opening:
            raise ValueError(f"docs/{name} has no table that begins with {first}")
        text = before + opening + _TABLES[first]() + rest[rest.index("\n\n") :]
    return text


def main() -> None:
    """Write the tables."""
    argparse.ArgumentParser(prog="python -m tests.faults.matrix", description=__doc__).parse_args()
    for name in PAGES:
        (DOCS / name).write_text(page(name), encoding="utf-8")


if __name__ == "__main__":
    main()
