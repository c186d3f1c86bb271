"""Questions about hardware that is not there yet: what more of it would give, and how little would be enough.

Pure arithmetic over `ocore.capacity.estimate`, which decides every figure: nothing is computed in a second way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ocore.capacity import GIB, MIB, CapacityEstimate, CapacitySettings, estimate
from ocore.errors import ConfigError
from ocore.specs import MAX_CORES, HardwareSpecs

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_USERS: Final = 10_000
_MAX_RAM_MB: Final = 2**24
_MAX_DISK_GB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Gain:
    """What a little more of the hardware gives.

    Attributes:
        of: cores, ramGB or diskGB; one of them more.
        instances: how many instances more.
        users: how many concurrent users more.

    """

    of: str
    instances: int
    users: int


@dataclass(frozen=True, slots=True)
class MachineSize:
    """A machine: usable cores, MB (MiB) of RAM, GB (GiB) of free disk."""

    cores: int
    ram_mb: int
    disk_gb: int

    @property
    def specs(self) -> HardwareSpecs:
        """The machine as hardware."""
        disk = self.disk_gb * GIB
        return HardwareSpecs(
            cpu_cores=self.cores,
            ram_total_bytes=self.ram_mb * MIB,
            disk_total_bytes=disk,
            disk_free_bytes=disk,
        )


def with_more(specs: HardwareSpecs, *, cores: int = 0, ram_mb: int = 0, disk_gb: int = 0) -> HardwareSpecs:
    """Return hardware with this much more of it.

    Raises:
        ConfigError: one of them is negative.

    """
    for name, value in (("cores", cores), ("ram_mb", ram_mb), ("disk_gb", disk_gb)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(name, "must be a whole number, not below 0")
    return replace(
        specs,
        cpu_cores=specs.cpu_cores + cores,
        ram_total_bytes=specs.ram_total_bytes + ram_mb * MIB,
        disk_total_bytes=specs.disk_total_bytes + disk_gb * GIB,
        disk_free_bytes=specs.disk_free_bytes + disk_gb * GIB,
    )


def gains(
    specs: HardwareSpecs, profile: str = "standard", settings: CapacitySettings | None = None
) -> tuple[Gain, ...]:
    """Return what one more core, GB of RAM and GB of disk would give, each alone."""
    now = estimate(specs, profile, settings)
    more = {
        "cores": with_more(specs, cores=1),
        "ramGB": with_more(specs, ram_mb=1024),
        "diskGB": with_more(specs, disk_gb=1),
    }
    return tuple(_gain(of, now, estimate(better, profile, settings)) for of, better in more.items())


def _gain(of: str, now: CapacityEstimate, then: CapacityEstimate) -> Gain:
    return Gain(of, then.max_instances - now.max_instances, then.max_concurrent_users - now.max_concurrent_users)


def describe(found: tuple[Gain, ...]) -> str:
    """Say in words what more hardware would give."""
    units = {"cores": "core", "ramGB": "GB of RAM", "diskGB": "GB of disk"}
    parts = [f"{units[one.of]}: +{one.instances} instance(s), +{one.users} user(s)" for one in found]
    return f"One more {'; one more '.join(parts)}."


def smallest(
    users: int, *, instances: int = 1, profile: str = "standard", settings: CapacitySettings | None = None
) -> MachineSize:
    """Return the smallest machine that carries so many concurrent users and instances.

    More hardware never gives less (a property of `estimate`), and the three kinds of hardware limit independently: so
    each is the least that is enough while there is plenty of the others.

    Args:
        users: concurrent users, 1-10000.
        instances: instances, at least 1.
        profile: the size of an instance.
        settings: the constants of the estimate.

    Raises:
        ConfigError: a number is out of its range, or no machine that we know of is enough.
        KeyError: there is no such profile.

    """
    for name, value, most in (("users", users, MAX_USERS), ("instances", instances, MAX_USERS)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ConfigError(name, f"must be a whole number from 1 to {most}")

    def enough(size: MachineSize) -> bool:
        found = estimate(size.specs, profile, settings)
        return found.max_concurrent_users >= users and found.max_instances >= instances

    plenty = MachineSize(MAX_CORES, _MAX_RAM_MB, _MAX_DISK_GB)
    if not enough(plenty):
        raise ConfigError("users", "no machine is large enough for this")
    return MachineSize(
        _least(1, MAX_CORES, lambda cores: enough(replace(plenty, cores=cores))),
        _least(1, _MAX_RAM_MB, lambda ram: enough(replace(plenty, ram_mb=ram))),
        _least(0, _MAX_DISK_GB, lambda disk: enough(replace(plenty, disk_gb=disk))),
    )


def _least(low: int, high: int, enough: Callable[[int], bool]) -> int:
    """Return the least number that is enough; `high` is."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
