"""A server that sends too much: its own run ends, and runs of others go on beside it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.faults.times import took
from tests.integration.apart import seconds_until
from tests.integration.lying import lie, teach

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.e2e.served import Client, Served
    from tests.hosts import Host

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)
ENDS = 600.0
# How the run to a server that sends so ends: what is too much fails its step, what can be passed over is.
WAYS: Final = {
    "noise": ("succeeded", ""),
    "large": ("failed", "step_failed"),
    "many": ("failed", "step_failed"),
    "deeper": ("failed", "step_failed"),
    "endless": ("cancelled", "cancelled"),
}
# Said in a moment: nothing else can be begun beside it.
QUICK: Final = {"deeper"}


@pytest.mark.promise("F22", "A12")
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_run_goes_on_beside_a_flood(
    serve: Callable[..., AbstractContextManager[Served]],
    start: Callable[..., Host],
    record_property: Callable[[str, object], None],
) -> None:
    """While one server sends without end, another organization's is validated; the times are told side by side."""
    honest, liar = start("root-key"), start("root-key")
    teach(liar)
    with serve("sqlite", hold_after_validation="true") as served:
        served.start("api", "worker")
        quiet, noisy = served.client("quiet"), served.client("noisy")
        mine = quiet.create(honest, proxyType="none")["id"]
        theirs = noisy.create(liar, proxyType="none")["id"]
        for client, server in ((quiet, mine), (noisy, theirs)):
            assert client.ended(client.runs(server)[0]["id"], ENDS)["state"] == "succeeded"
        alone = took(quiet.ended(quiet.ask(mine, "validate")["id"], ENDS))
        beside = {}
        for way, ends in WAYS.items():
            lie(liar, way)
            flood = noisy.ask(theirs, "validate")["id"]
            seconds_until(lambda: liar.read("/var/log/hostile"), ENDS, "the flood begins")
            run = _begun(quiet, quiet.ask(mine, "validate")["id"])
            beside_it = noisy.run(flood)
            assert way in QUICK or beside_it["state"] == "running", beside_it
            run = quiet.ended(run["id"], ENDS)
            assert run["state"] == "succeeded", run
            beside[way] = took(run)
            if way == "endless":
                noisy.call("POST", f"/runs/{flood}/cancel", 202)
            ended = noisy.ended(flood, ENDS)
            assert (ended["state"], ended["errorCode"]) == ends, (way, ended)
            log.info("%s: %s; beside it %.1f s (alone: %.1f s)", way, ended["errorCode"], beside[way], alone)
            liar.exec("pkill -f hostile/python3", check=False)
        record_property("runs", len(WAYS))
        record_property("ratio", round(max(beside.values()) / alone, 2))


def _begun(client: Client, run: str) -> dict[str, Any]:
    """Wait until a run begins, and return it as it is then."""
    seconds_until(lambda: client.run(run)["startedAt"], ENDS, "the run begins")
    return client.run(run)
