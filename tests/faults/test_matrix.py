"""The matrix is whole: each row has a test, each mark names a row, and the pages say what the tests say."""

from __future__ import annotations

import pytest

from tests.faults import matrix


def test_each_row_has_a_test_and_each_mark_a_row() -> None:
    """A promise without a test is none; where there is none yet, the row says so."""
    found = set(matrix.tests())
    assert {row.id for row in matrix.ROWS if not row.limit} <= found <= {row.id for row in matrix.ROWS}


@pytest.mark.parametrize("page", matrix.PAGES)
def test_a_page_has_the_rows_with_their_tests(page: str) -> None:
    """`python -m tests.faults.matrix` writes them."""
    found = (matrix.DOCS / page).read_text(encoding="utf-8")
    assert found == matrix.page(found, *matrix.PAGES[page])
