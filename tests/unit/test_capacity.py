"""Capacity: the published example, no loss from better hardware, and a reasoning whose figures are right."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocore.capacity import GIB, MIB, PROFILES, CapacityEstimate, CapacitySettings, Profile, estimate
from ocore.errors import ConfigError
from ocore.specs import MAX_CORES, HardwareSpecs


def specs(cores: int, ram_mb: int, disk_gb: int) -> HardwareSpecs:
    """Return hardware of this size."""
    return HardwareSpecs(
        cpu_cores=cores, ram_total_bytes=ram_mb * MIB, disk_total_bytes=disk_gb * GIB, disk_free_bytes=disk_gb * GIB
    )


ANCHOR = specs(4, 8192, 140)
hardware = st.builds(specs, st.integers(0, MAX_CORES), st.integers(0, 2**24), st.integers(0, 2**17))
more = st.tuples(st.integers(0, 64), st.integers(0, 2**20), st.integers(0, 4096))
profiles = st.sampled_from(sorted(PROFILES))


def test_the_anchor() -> None:
    """4 cores, 8 GB and 140 GB free carry 4 instances and 48 users, and RAM is the limit."""
    found = estimate(ANCHOR)
    assert found.max_instances == 4
    assert found.max_concurrent_users == 48
    assert found.ram_available_mb == 6248
    assert found.cpu_available == 3.92
    assert found.disk_available_gb == 125
    assert found.reasoning.startswith("RAM is the limit at 4 standard instance(s).")


def test_no_hundredth_of_a_core_is_lost() -> None:
    """The figure is the exact one, rounded down: fractions of two are not what the ladder is written in."""
    for cores in range(1, MAX_CORES + 1):
        left, reserved = Fraction(cores), Fraction(0)
        for width, share in CapacitySettings().cpu_ladder:
            part = min(left, Fraction(width)) if width != float("inf") else left
            reserved, left = reserved + part * Fraction(str(share)), left - part
        exact = Fraction(floor((cores - reserved) * 100), 100)
        assert estimate(specs(cores, 8192, 140)).cpu_available == float(exact), cores


@pytest.mark.parametrize("unknown", [None, HardwareSpecs(), specs(0, 8192, 140), specs(4, 0, 140)])
def test_unknown_hardware_gives_zeros_that_say_so(unknown: HardwareSpecs | None) -> None:
    """Without facts there is no guess."""
    found = estimate(unknown)
    assert found == CapacityEstimate()
    assert "not known" in found.reasoning


def test_an_unknown_profile_is_an_error_that_lists_the_known_ones() -> None:
    """A profile is a key of the settings."""
    with pytest.raises(KeyError, match="small, standard, heavy"):
        estimate(ANCHOR, "tiny")


@given(hardware, more, profiles)
def test_more_hardware_never_gives_less(base: HardwareSpecs, extra: tuple[int, int, int], profile: str) -> None:
    """Adding cores, RAM or disk lowers no figure of the estimate."""
    cores, ram_mb, disk_gb = extra
    better = dataclasses.replace(
        base,
        cpu_cores=base.cpu_cores + cores,
        ram_total_bytes=base.ram_total_bytes + ram_mb * MIB,
        disk_free_bytes=base.disk_free_bytes + disk_gb * GIB,
    )
    less, greater = estimate(base, profile), estimate(better, profile)
    assert less.max_instances <= greater.max_instances
    assert less.max_concurrent_users <= greater.max_concurrent_users
    assert less.cpu_available <= greater.cpu_available
    assert less.ram_available_mb <= greater.ram_available_mb
    assert less.disk_available_gb <= greater.disk_available_gb


@given(hardware, profiles)
def test_every_figure_is_a_sane_one(base: HardwareSpecs, profile: str) -> None:
    """Nothing is negative, nothing exceeds the hardware, and users need an instance."""
    found = estimate(base, profile)
    assert 0 <= found.cpu_available <= base.cpu_cores
    assert 0 <= found.ram_available_mb <= base.ram_total_bytes // MIB
    assert 0 <= found.disk_available_gb <= base.disk_free_bytes // GIB
    assert found.max_instances >= 0
    assert (found.max_concurrent_users == 0) or found.max_instances > 0


_DIVISIONS = re.compile(r"= ([0-9.]+)(?: MB| GB)?; / ([0-9.]+)(?: MB| GB)? = ([0-9]+)\.")


@given(st.builds(specs, st.integers(1, MAX_CORES), st.integers(1, 2**20), st.integers(0, 2**14)), profiles)
def test_the_figures_of_the_reasoning_recompute(base: HardwareSpecs, profile: str) -> None:
    """Whoever checks the arithmetic in the reasoning comes to the estimate's own figures."""
    found = estimate(base, profile)
    by_ram, by_cpu, by_disk = (
        (float(available), float(each), int(count)) for available, each, count in _DIVISIONS.findall(found.reasoning)
    )
    for available, each, count in (by_ram, by_cpu, by_disk):
        assert floor(available / each) == count
    assert min(by_ram[2], by_cpu[2], by_disk[2]) == found.max_instances
    assert (by_ram[0], by_cpu[0], by_disk[0]) == (
        found.ram_available_mb,
        found.cpu_available,
        found.disk_available_gb,
    )
    users = re.search(r"Users: ([0-9]+) worker.* x ([0-9]+) = ([0-9]+)\.$", found.reasoning)
    if found.max_concurrent_users:
        assert users
        assert (int(users[1]) - 1) * int(users[2]) == int(users[3]) == found.max_concurrent_users
    else:
        assert "Users: none" in found.reasoning


def test_the_reasoning_names_what_is_short() -> None:
    """Where nothing fits, everything that is too small is named."""
    assert estimate(specs(1, 512, 5)).reasoning.endswith("(short of: RAM, Disk).")


def test_our_own_images_do_not_count_against_the_server() -> None:
    """What our containers and images use on the disk counts as free: they are what the space is for."""
    used = dataclasses.replace(ANCHOR, disk_free_bytes=100 * GIB, own_disk_bytes=40 * GIB)
    assert estimate(used).disk_available_gb == estimate(ANCHOR).disk_available_gb


@pytest.mark.parametrize(
    ("cores", "ram_mb", "disk_gb", "limit"),
    [(1, 65536, 1000, "CPU"), (64, 4096, 1000, "RAM"), (64, 65536, 30, "Disk")],
)
def test_the_scarcest_is_the_limit(cores: int, ram_mb: int, disk_gb: int, limit: str) -> None:
    """The reasoning begins with what runs out first."""
    assert estimate(specs(cores, ram_mb, disk_gb)).reasoning.startswith(f"{limit} is the limit")


def test_every_constant_is_a_setting() -> None:
    """Each constant changes some figure when it is set to another value."""
    changed: dict[str, Any] = {
        "ram_ladder": ((float("inf"), 0.5),),
        "ram_reserve_mb": 2000,
        "cpu_ladder": ((float("inf"), 0.5),),
        "disk_reserve_gb": 100,
        "worker_ram_mb": 1000.0,
        "users_per_worker": 1,
        "user_base_ram_mb": 5000,
        "profiles": {"standard": Profile(cores=1, ram_mb=3000, disk_gb=50)},
    }
    assert set(changed) == {one.name for one in dataclasses.fields(CapacitySettings)}
    for name, value in changed.items():
        settings = dataclasses.replace(CapacitySettings(), **{name: value})
        assert estimate(ANCHOR, settings=settings) != estimate(ANCHOR), name


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"ram_ladder": ((0, 0.5),)}, "ram_ladder"),
        ({"ram_ladder": ((1, 1.5),)}, "ram_ladder"),
        ({"cpu_ladder": ((float("nan"), 0.5),)}, "cpu_ladder"),
        ({"cpu_ladder": (1, 2)}, "cpu_ladder"),
        ({"cpu_ladder": 1}, "cpu_ladder"),
        ({"ram_reserve_mb": -1}, "ram_reserve_mb"),
        ({"ram_reserve_mb": True}, "ram_reserve_mb"),
        ({"disk_reserve_gb": 1.5}, "disk_reserve_gb"),
        ({"worker_ram_mb": 0}, "worker_ram_mb"),
        ({"worker_ram_mb": float("inf")}, "worker_ram_mb"),
        ({"users_per_worker": 0}, "users_per_worker"),
        ({"user_base_ram_mb": "1"}, "user_base_ram_mb"),
        ({"profiles": {}}, "profiles"),
        ({"profiles": {"a\n": Profile(1, 1, 1)}}, "profiles"),
        ({"profiles": {"a": 1}}, "profiles"),
    ],
)
def test_a_constant_that_breaks_its_rule_is_refused(wrong: dict[str, Any], field: str) -> None:
    """When it is set, and not when an estimate is asked for."""
    with pytest.raises(ConfigError) as raised:
        CapacitySettings(**wrong)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("cores", "ram_mb", "disk_gb", "field"),
    [
        (0, 1, 1, "cores"),
        (float("nan"), 1, 1, "cores"),
        (1, 0, 1, "ram_mb"),
        (1, 1.5, 1, "ram_mb"),
        (1, 1, 0, "disk_gb"),
    ],
)
def test_an_instance_takes_something(cores: Any, ram_mb: Any, disk_gb: Any, field: str) -> None:
    """Of nothing, any number would fit."""
    with pytest.raises(ConfigError) as raised:
        Profile(cores, ram_mb, disk_gb)
    assert raised.value.field == field
