"""A host that dies in the middle of a run; the next run goes on where it stopped."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import ocore
from tests.integration.support import Watch, describe, options, server, statuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host


class KillDuringDocker(Watch):
    """Cuts the host's power once Docker's packages are being installed."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host
        self._killer: threading.Thread | None = None

    def task_event(self, event: ocore.TaskEvent) -> None:
        """Kill the host at the first task that installs in the step docker."""
        super().task_event(event)
        if event.kind == "started" and event.task == "Install Docker's packages" and self._killer is None:
            self._killer = threading.Thread(target=self._host.kill)
            self._killer.start()


@pytest.mark.promise("F15")
def test_the_next_run_goes_on_at_the_step_that_was_cut_off(start: Callable[..., Host]) -> None:
    """The run ends as connection_lost in docker; the next one finds packages so and goes on at docker."""
    host = start("root-key")
    result = ocore.provision(server(host), options(), recorder=KillDuringDocker(host))

    assert result.error is not None, describe(result)
    assert result.error.code is ocore.ErrorCode.CONNECTION_LOST
    assert statuses(result)["packages"] == "success"
    assert statuses(result)["docker"] == "failed"
    assert statuses(result)["proxy"] == "skipped"

    host.start()
    again = ocore.provision(server(host), options())
    assert again.ok, describe(again)
    assert statuses(again)["docker"] == "success"
    # A kill may leave the disk's last writes behind; packages then has something to mend, and says so.
    assert statuses(again)["packages"] in {"unchanged", "success"}
    docker = next(step for step in again.steps if step.step == "docker")
    assert "It ran since" in docker.message
