"""Fixtures: each test that asks for `service` runs once on each storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from api.parts import RINGS, keyring
from api.settings import Settings
from tests.service.storages import NAMES, Missing, Servers
from tests.service.support import Service, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Quick, so that what is lost is found within a test's patience.
QUICK = {
    "lease_seconds": 6,
    "heartbeat_seconds": 0.5,
    "sweep_seconds": 0.3,
    "grace_seconds": 0,
    "monitor": False,
    "minimum_disk_gb": 1,
}


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Return the database servers of this process."""
    with Servers() as found:
        yield found


@pytest.fixture(params=NAMES)
def storage(request: pytest.FixtureRequest) -> str:
    """Return the name of a storage."""
    name: str = request.param
    return name


@pytest.fixture
def environment(storage: str, servers: Servers, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the environment of a service on an empty storage; it never skips: a missing server is a failure."""
    try:
        with servers.environment(storage) as found:
            yield {"OCORE_HOME": str(tmp_path / "home")} | found
    except Missing as missing:
        pytest.fail(str(missing))


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    """Return quick settings for an empty storage."""
    given = {name.removeprefix("OCORE_").lower(): value for name, value in environment.items()}
    made = Settings(**{**QUICK, **given})  # type: ignore[arg-type]
    # Only the embedded storage makes its own keys.
    for ring in RINGS:
        keyring(made, ring).create()
    return made


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    """Return a service without a worker."""
    with opened(settings) as found:
        yield found
