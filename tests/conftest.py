"""What all tests share: hosts may be required, and then their absence fails rather than skips."""

from __future__ import annotations

import os
from importlib.metadata import version

import pytest

from tests import hosts


def pytest_report_header() -> str:
    """Say what was tested, which the Python version chooses."""
    return f"ansible-core {version('ansible-core')}, ansible-runner {version('ansible-runner')}"


@pytest.fixture(scope="session")
def engine() -> None:
    """Stand for a Docker engine that can start hosts: fail without one where hosts are required, else skip."""
    if hosts.available():
        return
    if os.environ.get("OCORE_REQUIRE_HOSTS"):
        pytest.fail("no test host can be had here, and OCORE_REQUIRE_HOSTS is set")
    pytest.skip("no test host can be had here (`./dev setup` installs what is missing)")
