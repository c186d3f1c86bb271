"""Fixtures: those of the service and of real processes, for what is of both."""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import serve, start
from tests.faults.marked import Marked
from tests.faults.played import Played
from tests.service.conftest import environment, pytest_generate_tests, servers, service, settings, storage
from tests.service.storages import Missing, Postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.service.storages import Servers

__all__ = ["environment", "pytest_generate_tests", "serve", "servers", "service", "settings", "start", "storage"]

# It says a line for every request.
logging.getLogger("httpx2").setLevel(logging.WARNING)


@pytest.fixture
def play(servers: Servers, tmp_path: Path) -> Callable[..., contextlib.AbstractContextManager[Played]]:
    """Return a function that gives a service of real processes over recordings, on an empty storage."""

    @contextlib.contextmanager
    def opened(storage: str = "sqlite", **settings: object) -> Iterator[Played]:
        try:
            with servers.environment(storage) as found, Played(tmp_path, found, **settings) as played:
                yield played
        except Missing as missing:
            pytest.fail(str(missing))

    return opened


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """Return a PostgreSQL server of this test's own, which it may treat as it likes."""
    folder = Path(tempfile.mkdtemp(prefix="ocore-faults-"))
    folder.chmod(0o755)
    try:
        found = Postgres(folder)
        yield found
        found.stop(signal.SIGKILL)
    except Missing as missing:
        pytest.fail(str(missing))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def serve_marked(
    servers: Servers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., contextlib.AbstractContextManager[Marked]]:
    """Return a function that gives a marked service without processes on an empty storage."""

    @contextlib.contextmanager
    def opened(storage: str = "sqlite", **settings: object) -> Iterator[Marked]:
        try:
            with (
                servers.environment(storage) as found,
                Marked(tmp_path_factory.mktemp("served"), found, **settings) as served,
            ):
                yield served
        except Missing as missing:
            pytest.fail(str(missing))

    return opened
