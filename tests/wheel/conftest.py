"""What the tests of the wheel share: the wheel, and a host to use it on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import hosts
from tests.wheel import installing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="package")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of this checkout."""
    return installing.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="package")
def host(engine: None) -> Iterator[hosts.Host]:  # noqa: ARG001 - asks for the engine
    """Return a host that has Docker."""
    started = hosts.up("root-key", docker=True)
    yield started
    started.remove()
