"""Fixtures: real hosts, the two storages, and a service of real processes on one of them."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import pytest

from tests import hosts
from tests.e2e.served import QUIET_SSHD, Served
from tests.service.storages import NAMES, Missing, Servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# It says a line for every request.
logging.getLogger("httpx2").setLevel(logging.WARNING)


@pytest.fixture(scope="module")
def start(engine: None) -> Iterator[Callable[..., hosts.Host]]:  # noqa: ARG001 - asks for the engine
    """Return a function that starts hosts as `hosts.up` does; they go when the module is done.

    Docker is installed in them: how it gets there is not the matter here. Their sshd does not punish who connects
    often, as these tests do.
    """
    started: list[hosts.Host] = []

    def up(variant: str = "root-key") -> hosts.Host:
        host = hosts.up(variant, docker=True)
        started.append(host)
        host.write("/etc/ssh/sshd_config.d/ocore-test-quiet.conf", QUIET_SSHD)
        host.exec("systemctl restart ssh")
        host.wait_until_booted()
        return host

    yield up
    for host in started:
        host.remove()


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


@pytest.fixture(scope="module")
def serve(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., contextlib.AbstractContextManager[Served]]:
    """Return a function that gives a service without processes on an empty storage; what it starts ends with it."""

    @contextlib.contextmanager
    def opened(storage: str = "sqlite", **settings: object) -> Iterator[Served]:
        try:
            with (
                servers.environment(storage) as found,
                Served(tmp_path_factory.mktemp("served"), found, **settings) as served,
            ):
                yield served
        except Missing as missing:
            pytest.fail(str(missing))

    return opened
