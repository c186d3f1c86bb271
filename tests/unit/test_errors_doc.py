"""docs/errors.md and the set of error codes say the same."""

from __future__ import annotations

import re
from pathlib import Path

from ocore import ERRORS, ErrorCode

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
ROW = re.compile(r"^\| `([a-z_]+)` \| (.+) \| (.+) \| (yes|no) \|$", re.MULTILINE)


def test_the_page_and_the_set_are_equal() -> None:
    """Every code is a row with its meaning, its remedy and whether trying again can help; there is no other row."""
    rows = {code: (meaning, remedy, retry == "yes") for code, meaning, remedy, retry in ROW.findall(PAGE.read_text())}
    known = {str(code): (info.meaning, info.remedy, info.retryable) for code, info in ERRORS.items()}
    assert rows == known


def test_every_code_is_described() -> None:
    """No code is without its words."""
    assert set(ERRORS) == set(ErrorCode)


def test_words_are_sentences() -> None:
    """Meaning and remedy can be shown one after the other."""
    for info in ERRORS.values():
        for words in (info.meaning, info.remedy):
            assert words.endswith(".")
            assert "|" not in words
