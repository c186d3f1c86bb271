"""Every error code that a real host can be made to show, shown by one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from ocore.errors import ErrorCode
from tests.integration.codes_table import LINES, Ground, Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host

# It stands for a fault in oCore itself, so no host shows it.
NOT_SHOWN: Final = {ErrorCode.INTERNAL}


@pytest.fixture(scope="module")
def ground(start: Callable[..., Host]) -> Ground:
    """Return the hosts that the lines share."""
    return Ground(start)


def _case(line: Line) -> object:
    marks = [pytest.mark.slow] if line.slow else []
    return pytest.param(line, id=f"{line.code}: {line.variant}", marks=marks)


def test_the_table_has_every_code() -> None:
    """Every code but the one for our own faults has a line in the table."""
    assert {line.code for line in LINES} == set(ErrorCode) - NOT_SHOWN


@pytest.mark.promise("F11", "F20")
@pytest.mark.parametrize("line", [_case(line) for line in LINES])
def test_a_host_in_this_state_shows_this_code(ground: Ground, line: Line) -> None:
    """A run over a host in the line's state fails with the line's code, and its message says what is the matter."""
    failure = line.show(ground)
    assert failure.code is line.code, failure
    assert re.search(line.says, failure.message), failure
