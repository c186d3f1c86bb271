"""Many servers, few workers, all kinds of trouble: everybody's turn comes, and nobody's twice."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.e2e import fleet

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.storages import Servers

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_fleet_comes_to_the_right_states(engine: None, servers: Servers, tmp_path: Path) -> None:  # noqa: ARG001
    """Thirty servers and another organization's two: each state is right, each server has one run at a time.

    No slot stays free while a run could begin, and the second organization does not wait for the first one's thirty.
    """
    with fleet.started() as hosts, fleet.service(servers, tmp_path) as served:
        report = fleet.make(served, hosts)
    log.info("\n%s", "\n".join(report.lines()))
    assert not report.wrong
    assert not report.overlaps
    assert len(report.runs) == 32 + fleet.HOSTS
    assert len({run.worker for run in report.runs}) == fleet.WORKERS
    assert report.most <= fleet.ALL_SLOTS
    # Between a run's end and the next one's begin there is a moment.
    assert report.longest_idle < 3
    assert report.idle_slots < 0.2
    assert report.first_still_waiting > 15, report.second_waited
