"""Fixtures: each test that asks for `service` runs once on each storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from api.parts import RINGS, keyring
from api.settings import Settings
from tests.service.storages import ALONE, NAMES, Missing, Servers
from tests.service.support import UNLIMITED, Service, opened

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
    **UNLIMITED,
}


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Return the database servers of this process."""
    with Servers() as found:
        yield found


# The tests of the queue: these, and no others, are also run with PostgreSQL as the queue, among the slow ones.
_OF_THE_QUEUE = frozenset({"test_cancel", "test_claims", "test_ends", "test_fencing", "test_life", "test_sweep"})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have each test that names no storage run once on each."""
    chosen = [mark for mark in metafunc.definition.iter_markers("parametrize") if mark.args[0] == "storage"]
    if "storage" in metafunc.fixturenames and not chosen:
        of_the_queue = metafunc.module.__name__.rpartition(".")[2] in _OF_THE_QUEUE
        also = [pytest.param(ALONE, marks=pytest.mark.slow)] if of_the_queue else []
        metafunc.parametrize("storage", [*NAMES, *also], indirect=True)


@pytest.fixture
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
    made = Settings(**{**QUICK, **given})
    # Only the embedded storage makes its own keys.
    for ring in RINGS:
        keyring(made, ring).create()
    return made


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    """Return a service without a worker."""
    with opened(settings) as found:
        yield found
