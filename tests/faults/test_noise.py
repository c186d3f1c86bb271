"""One organization makes as many requests as it can: another one's are answered all the same."""

from __future__ import annotations

import contextlib
import json
import logging
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.e2e.served import Client, Served

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)
HAMMER = Path(__file__).parent / "hammer.py"
THREADS = 8
# For a busy machine: what is told is the ratio.
SOON = 10.0


def _answer_times(client: Client, count: int) -> list[float]:
    """Make requests one after the other, as somebody at a screen would; return how long each took, sorted."""
    times = []
    # One connection, as a browser has: making one takes the client longer than an answer takes the service.
    with client.http() as http:
        for number in range(count):
            began = time.monotonic()
            answer = http.get("/api/servers" if number % 2 else "/api/audit")
            times.append(time.monotonic() - began)
            assert answer.status_code == 200, answer.text
            time.sleep(0.05)
    return sorted(times)


@contextlib.contextmanager
def _hammering(served: Served, client: Client) -> Iterator[dict[str, int]]:
    """Have somebody hammer for a while; the answers are counted by status when that is over."""
    counts: dict[str, int] = {}
    command = [sys.executable, HAMMER, served.urls()[0], str(THREADS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hammer:
        assert hammer.stdin is not None
        hammer.stdin.write(client.token + "\n")
        hammer.stdin.flush()
        # By then it has come to its limit, where there is one.
        time.sleep(10)
        try:
            yield counts
        finally:
            said, _ = hammer.communicate(timeout=120)
            counts |= json.loads(said)


def _told(times: list[float]) -> str:
    return f"median {statistics.median(times) * 1000:.0f} ms, 95% {times[int(len(times) * 0.95)] * 1000:.0f} ms"


@pytest.mark.promise("A12")
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rate", [400, 0], ids=["with the limit", "without a limit"])
def test_a_quiet_organization_is_answered_while_another_one_hammers(
    serve: Callable[..., AbstractContextManager[Served]], rate: int, record_property: Callable[[str, object], None]
) -> None:
    """All requests of the quiet one are answered; how long that takes is told beside what it takes undisturbed."""
    with serve("sqlite", rate_organization=rate) as served:
        served.start("api")
        quiet, noisy = served.client("quiet"), served.client("noisy")
        alone = _answer_times(quiet, 100)
        with _hammering(served, noisy) as counts:
            beside = _answer_times(quiet, 100)
        after = _answer_times(quiet, 50)
    ratio = statistics.median(beside) / statistics.median([*alone, *after])
    log.info("alone: %s; beside %s: %s; ratio of medians %.1f", _told(alone), counts, _told(beside), ratio)
    record_property("runs", sum(counts.values()))
    record_property("ratio", round(ratio, 2))
    assert sum(counts.values()) > 100
    assert ("429" in counts) == bool(rate)
    assert beside[-1] < SOON
