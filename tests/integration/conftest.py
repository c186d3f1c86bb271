"""Real hosts for tests: started when a test asks for one, removed when its module is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def start(engine: None) -> Iterator[Callable[..., hosts.Host]]:  # noqa: ARG001 - asks for the engine
    """Return a function that starts hosts as `hosts.up` does; they go when the module is done."""
    started: list[hosts.Host] = []

    def up(variant: str = "root-key", **options: bool | str) -> hosts.Host:
        host = hosts.up(variant, **options)  # type: ignore[arg-type]
        started.append(host)
        return host

    yield up
    for host in started:
        host.remove()
