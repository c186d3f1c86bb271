"""What all tests share: hosts may be required, and then their absence fails rather than skips."""

from __future__ import annotations

import os
from importlib.metadata import version

import pytest

from tests import hosts
from tests.hosts import emulation


def pytest_report_header() -> str:
    """Say what was tested, which the Python version chooses."""
    return f"ansible-core {version('ansible-core')}, ansible-runner {version('ansible-runner')}"


@pytest.fixture(scope="session")
def engine() -> None:
    """Stand for a Docker engine that can start hosts: fail without one where hosts are required, else skip."""
    if not hosts.available():
        _missing("no test host can be had here (`./dev setup` installs what is missing)")


@pytest.fixture(scope="session")
def arm64() -> None:
    """Stand for what runs programs of arm64, as `engine` does for an engine."""
    if not emulation.ready("arm64"):
        _missing("programs of arm64 do not run here (`./dev test --arm64` installs what runs them)")


def _missing(what: str) -> None:
    if os.environ.get("OCORE_REQUIRE_HOSTS"):
        pytest.fail(f"OCORE_REQUIRE_HOSTS is set, and {what}")
    pytest.skip(what)
