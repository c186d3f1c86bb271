"""Sizing: more hardware, the gain of a little more, and the least that is enough; all by the one estimate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocore import sizing
from ocore.capacity import PROFILES, estimate
from ocore.errors import ConfigError
from ocore.sizing import MachineSize

ANCHOR = MachineSize(4, 8192, 140)
profiles = st.sampled_from(sorted(PROFILES))


def test_more_memory_lifts_the_anchor() -> None:
    """At 4 cores and 8 GB RAM is the limit: 4 GB more carry 7 instances, and then the CPU is the limit."""
    better = estimate(sizing.with_more(ANCHOR.specs, ram_mb=4096))
    assert (better.max_instances, better.terms.limit if better.terms else "") == (7, "RAM")


def test_the_gain_is_the_difference() -> None:
    """One more GB of RAM gives the anchor an instance; one more core gives users; one more GB of disk gives nothing."""
    found = {gain.of: (gain.instances, gain.users) for gain in sizing.gains(ANCHOR.specs)}
    assert found == {"cores": (0, 12), "ramGB": (1, 0), "diskGB": (0, 0)}


@given(st.integers(1, 2000), st.integers(1, 60), profiles)
def test_the_smallest_is_enough_and_nothing_smaller_is(users: int, instances: int, profile: str) -> None:
    """The machine carries what was asked for; with one core, MB or GB less it does not."""
    size = sizing.smallest(users, instances=instances, profile=profile)

    def enough(one: MachineSize) -> bool:
        found = estimate(one.specs, profile)
        return found.max_concurrent_users >= users and found.max_instances >= instances

    assert enough(size)
    for name in ("cores", "ram_mb", "disk_gb"):
        assert not enough(replace(size, **{name: getattr(size, name) - 1}))


@pytest.mark.parametrize(("users", "instances"), [(0, 1), (-1, 1), (10_001, 1), (1, 0), (True, 1)])
def test_absurd_questions_are_refused(users: int, instances: int) -> None:
    """A number out of its range is named."""
    with pytest.raises(ConfigError):
        sizing.smallest(users, instances=instances)


def test_less_is_not_more() -> None:
    """What is to be added is not negative."""
    with pytest.raises(ConfigError, match="ram_mb"):
        sizing.with_more(ANCHOR.specs, ram_mb=-1)
