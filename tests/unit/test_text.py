"""Text from a server, made safe to show and to store."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocore.intake.text import plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain words", "plain words"),
        ("  around  ", "around"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]unfinished", ""),
        ("a\x1bcb", "ab"),
        ("\x1b(Bascii", "ascii"),
        ("a\x00b\x07c\x7fd\x9fe", "abcde"),
        ("over\rwritten", "over written"),
        ("a\tb", "a b"),
        ("two\nlines", "two lines"),
        ("abc\u202egpj.exe", "abcgpj.exe"),
        ("a\u200bb\ufeffc\u2066d", "abcd"),
        ("\ud800x", "x"),
        ("ü 日本 𐍈", "ü 日本 𐍈"),
    ],
    ids=ascii,
)
def test_what_moves_or_hides_text_is_taken_out(text: str, expected: str) -> None:
    """Escape sequences go as a whole, control and reordering characters go, letters of every script stay."""
    assert plain(text, 200) == expected


def test_a_long_text_is_cut_and_shows_it() -> None:
    """A cut text ends with an ellipsis and is never longer than asked."""
    assert plain("x" * 50, 10) == "x" * 9 + "…"
    assert plain("x" * 10, 10) == "x" * 10


@given(st.text(), st.integers(1, 50))
def test_any_text_comes_out_harmless(text: str, most: int) -> None:
    """Whatever comes in, no control character but the line break comes out, and it can be encoded."""
    cleaned = plain(text, most)
    assert len(cleaned) <= most
    cleaned.encode()
    assert all(one == "\n" or unicodedata.category(one) != "Cc" for one in cleaned)


@given(st.text(max_size=40))
def test_cleaning_again_changes_nothing(text: str) -> None:
    """A text that passes twice is the same as one that passes once."""
    once = plain(text, 100)
    assert plain(once, 100) == once
