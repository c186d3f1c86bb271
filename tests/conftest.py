"""What all tests share: hosts may be required, and then their absence fails rather than skips."""

from __future__ import annotations

import os

import pytest

from tests import hosts


@pytest.fixture(scope="session")
def engine() -> None:
    """Stand for a Docker engine that can start hosts: fail without one where hosts are required, else skip."""
    if hosts.available():
        return
    if os.environ.get("OCORE_REQUIRE_HOSTS"):
        pytest.fail("no test host can be had here, and OCORE_REQUIRE_HOSTS is set")
    pytest.skip("no test host can be had here (`./dev setup` installs what is missing)")
