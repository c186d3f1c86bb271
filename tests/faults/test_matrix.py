"""The matrix is whole: each row has a test, each mark names a row, and the pages say what the tests say."""

from __future__ import annotations

import ast

import pytest

from tests.faults import matrix, mutations


def test_each_row_has_a_test_and_each_mark_a_row() -> None:
    """A promise without a test is none."""
    assert set(matrix.tests()) == {row.id for row in matrix.ROWS}


@pytest.mark.parametrize("page", matrix.PAGES)
def test_a_page_has_the_rows_with_their_tests(page: str) -> None:
    """`python -m tests.faults.matrix` writes them."""
    assert (matrix.DOCS / page).read_text(encoding="utf-8") == matrix.page(page)


@pytest.mark.parametrize("one", mutations.all_of_them(), ids=lambda one: one.guard)
def test_a_guard_can_be_broken_where_it_is_said_to_be(one: mutations.Mutation) -> None:
    """Its text stands there once, and its test is there: whether that turns red is for `tests.faults.mutations`."""
    assert (mutations.ROOT / one.file).read_text(encoding="utf-8").count(one.old) == 1
    file, _, name = one.test.partition("::")
    source = (mutations.ROOT / file).read_text(encoding="utf-8")
    assert not name or f"def {name.partition('[')[0]}(" in source


def test_a_mark_that_marks_nothing_is_refused() -> None:
    """Such a row would seem to have a test."""
    for source in ('pytestmark = pytest.mark.promise("F1")', 'async def test_x():\n    pytest.mark.promise("F1")'):
        with pytest.raises(ValueError, match="not that of a test function"):
            list(matrix._marked(ast.parse(source)))  # noqa: SLF001 - what reads the marks
