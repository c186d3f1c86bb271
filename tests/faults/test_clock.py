"""Clocks jump by an hour under real processes: the machine's, which is SQLite's too, or all but the database's."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

import pytest

from ocore.replay import FILE
from tests.faults import wholeness
from tests.faults.asking import Crowd
from tests.faults.played import Played, create, only_run
from tests.service.support import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.e2e.served import Client
    from tests.service.storages import Servers

    Record = Callable[[str, object], None]

# Run by `./dev faults`: the whole of them takes longer than everybody's tests may.
pytestmark = pytest.mark.slow

HOUR: Final = 3600
JUMPS: Final = {"forth and back": (HOUR, 0), "back and forth": (-HOUR, 0)}
# Long enough for several sweeps and heartbeats by the new time.
STAYS: Final = 6.0


class Shifting(Played):
    """A service whose processes have a wall clock that jumps, with those whose clock is right beside them."""

    def __init__(self, folder: Path, storage: Mapping[str, str], **settings: object) -> None:
        self._clock = folder / "clock"
        self.shifts = True
        self.jump(0)
        self._shifted = ["-m", "tests.faults.shifted", str(self._clock)]
        super().__init__(folder, storage, **settings)

    def jump(self, to: int) -> None:
        """Have the clock be so many seconds ahead of the true time from now on."""
        draft = self._clock.with_suffix(".draft")
        draft.write_text(str(to), encoding="ascii")
        draft.replace(self._clock)

    def words(self, role: str) -> list[str]:
        """Return what starts a process."""
        _, *words = super().words(role)
        return [*self._shifted, *words] if self.shifts else ["-m", *words]

    def client_from_before(self) -> Client:
        """Return a client whose token is some hours old: one that is from the future by now counts for nothing."""
        self.entry = [*self._shifted, "ocore"]
        self.jump(-2 * HOUR)
        client = super(Played, self).client()
        self.jump(0)
        self.entry = ["-m", "ocore"]
        return client


@pytest.mark.promise("F27")
@pytest.mark.parametrize("jumps", JUMPS.values(), ids=JUMPS)
def test_a_clock_that_jumps_costs_no_run(
    storage: str, jumps: tuple[int, ...], servers: Servers, tmp_path: Path, record_property: Record
) -> None:
    """Runs that go on are not taken from who makes them, those that wait are made, each once.

    On SQLite the machine's clock is also the database's, by which leases go; PostgreSQL has its own, which is right.
    """
    with servers.environment(storage) as found, Shifting(tmp_path, found, workers=1) as served:
        client = served.client_from_before()
        programs = served.start("api", "worker", "worker")
        runs = [create(client, f"takes-{seconds}-1.example") for seconds in (15, 40, 4)]
        running = "SELECT count(*) FROM run WHERE state = 'running'"
        wait_for(lambda: served.rows(running) == [(2,)], "two runs go on")
        with Crowd(client, runs[2], 2, pause=0.5) as crowd:
            for to in jumps:
                served.jump(to)
                time.sleep(STAYS)
        bad = [one for one in crowd.answers if not 200 <= one.status < 300]
        assert not bad, bad[:3]
        began = time.monotonic()
        wholeness.settled(served, 240)
        record_property("recovery", round(time.monotonic() - began, 2))
        for server in runs:
            run = only_run(client, server)
            assert (run["state"], run["attempt"]) == ("succeeded", 1)
            assert all(one["durationMs"] >= 0 for one in client.logs(server))
        said = "".join(program.said() for program in programs)
        assert "a run lost its worker" not in said
        assert ("the clock of the database has jumped" in said) == (storage == "sqlite")


@pytest.mark.promise("F25", "F27")
@pytest.mark.parametrize("ahead", [HOUR, -HOUR], ids=["ahead", "behind"])
@pytest.mark.parametrize("storage", ["postgres"])
def test_a_removal_goes_by_the_clock_of_the_database(
    storage: str, servers: Servers, tmp_path: Path, ahead: int
) -> None:
    """A worker an hour ahead does not let a server go at once, nor does one behind try again without a pause."""
    with servers.environment(storage) as found, Shifting(tmp_path, found) as served:
        served.shifts = False
        served.start("api", "worker")
        client = served.client()
        server = create(client, "takes-4-1.example")
        client.until(server, "active")
        served.running.pop().end()
        file = served.recordings / FILE
        known = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(known | {"takes-4-1.example": {"fails": "connect_timeout"}}), encoding="utf-8")
        served.shifts = True
        served.jump(ahead)
        served.start("worker")
        client.call("DELETE", f"/servers/{server}", 202)
        wait_for(lambda: "tried again" in client.get(server)["statusMessage"], "it is tried")
        [(left,)] = served.rows("SELECT start_after - clock_timestamp() FROM run WHERE kind = 'cleanup'")
        assert 0 < left.total_seconds() <= 15
        assert client.get(server)["status"] == "removing"


@pytest.mark.promise("F27")
def test_a_token_follows_the_clock_of_the_api(tmp_path: Path) -> None:
    """With half a minute of leeway: one that is just made is from the future for an API that is an hour behind."""
    with Shifting(tmp_path, {}) as served:
        served.start("api")
        client = served.client()
        seen = []
        for to in (0, 20, -20, -HOUR, 11 * HOUR, 0):
            served.jump(to)
            seen.append(client.call("GET", "/servers", None)["_status"])
        assert seen == [200, 200, 200, 401, 401, 200]
