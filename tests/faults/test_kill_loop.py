"""Two hundred processes are killed at random moments, and nothing is lost, doubled or left."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.faults import watched
from tests.faults.kill_loop import VICTIMS, KillLoop, Target, seed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.faults.marked import Marked
    from tests.hosts import Host

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)
# On each of the two storages; both together take less than 25 minutes on two cores of their own, an hour beside others.
KILLS = 105
SECONDS = 3000.0


@pytest.fixture(scope="module")
def host(start: Callable[..., Host]) -> Host:
    """Return a host with Docker in it, and the program of the step `watched`."""
    found = start("root-key")
    watched.prepare(found)
    return found


@pytest.mark.promise("F1", "F2", "F3", "F33", "A15")
@pytest.mark.slow
@pytest.mark.timeout(4000)
def test_whatever_is_killed_all_is_well_again(
    storage: str,
    serve_marked: Callable[..., AbstractContextManager[Marked]],
    host: Host,
    record_property: Callable[[str, object], None],
) -> None:
    """API, workers, supervisors and Ansible are killed: every run ends, in order, and the server is active again."""
    elsewhere = storage == "postgres"
    with serve_marked(storage, site=watched.SITE, workers=1) as served:
        served.start("api")
        served.start("worker", "worker", elsewhere=elsewhere)
        client = served.client()
        host.disown()
        server = client.create(host, proxyType="none")["id"]
        client.until(server, "active", 600)
        loop = KillLoop(served, client, [Target(host, server)], seed(storage), elsewhere=elsewhere)
        log.info("seed %s", loop.seed)
        try:
            loop.until(KILLS, SECONDS)
        finally:
            log.info("%s", loop.told())
            record_property("runs", loop.kills.total())
            record_property("recovery", max(loop.recoveries, default=0.0))
        assert loop.kills.total() >= KILLS, loop.told()
        assert set(loop.kills) == set(VICTIMS), loop.told()
        assert not watched.at_work(host)
