"""How many application instances a server can carry, and why: pure arithmetic on `HardwareSpecs`.

Sources of the rules. RAM and CPU reserves: the ladder that Google publishes for GKE nodes ("Plan node sizes"), plus
100 MiB for the system's own eviction margin. Workers: Odoo's deployment guide (one worker per 6 users, at most
2 x cores + 1, one of them for cron; 324.8 MB per worker = 80 % x 150 MB + 20 % x 1024 MB, light and heavy requests).
MB is MiB and GB is GiB throughout; figures are rounded down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor, inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ocore.errors import ConfigError

if TYPE_CHECKING:
    from ocore.specs import HardwareSpecs

MIB: Final = 2**20
GIB: Final = 2**30

_LADDER: Final = "must be pairs of a width above 0 and a share from 0 to 1"
_MOST_NAME: Final = 40

Ladder = tuple[tuple[float, float], ...]


def _check(name: str, value: object, *, above: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value < inf:
        raise ConfigError(name, f"must be a number above {above:g}")


def _check_whole(name: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(name, f"must be a whole number, not below {least}")


def _check_ladder(name: str, ladder: object) -> None:
    """Refuse what is no ladder: with a share above 1, more hardware would give less."""
    for one in ladder if isinstance(ladder, tuple) else [None]:
        width, share = one if isinstance(one, tuple) and len(one) == 2 else (0, 0)  # noqa: PLR2004 - a pair
        if any(isinstance(part, bool) or not isinstance(part, int | float) for part in (width, share)):
            raise ConfigError(name, _LADDER)
        if not (width > 0 and 0 <= share <= 1):
            raise ConfigError(name, _LADDER)


@dataclass(frozen=True, slots=True)
class Profile:
    """What one instance takes: cores, MB of RAM, GB of disk."""

    cores: float
    ram_mb: int
    disk_gb: int

    def __post_init__(self) -> None:
        """Check every field against its rule."""
        _check("cores", self.cores, above=0)
        for name in ("ram_mb", "disk_gb"):
            _check_whole(name, getattr(self, name), least=1)


PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        "small": Profile(cores=0.25, ram_mb=556, disk_gb=5),
        "standard": Profile(cores=0.5, ram_mb=1380, disk_gb=10),
        "heavy": Profile(cores=2, ram_mb=2286, disk_gb=40),
    }
)


@dataclass(frozen=True, slots=True)
class CapacitySettings:
    """Every constant of the estimate.

    Attributes:
        ram_ladder: (width in MB, share that is reserved), from the first megabyte up; the last width is endless.
        ram_reserve_mb: reserved on top of the ladder.
        cpu_ladder: (width in cores, share that is reserved).
        disk_reserve_gb: reserved for the system and its logs.
        worker_ram_mb: what one worker takes on average.
        users_per_worker: concurrent users that one worker serves.
        user_base_ram_mb: RAM that is used before the first worker.
        profiles: what one instance takes, by name.

    """

    ram_ladder: Ladder = ((4096, 0.25), (4096, 0.20), (8192, 0.10), (114688, 0.06), (float("inf"), 0.02))
    ram_reserve_mb: int = 100
    cpu_ladder: Ladder = ((1, 0.06), (1, 0.01), (2, 0.005), (float("inf"), 0.0025))
    disk_reserve_gb: int = 15
    worker_ram_mb: float = 324.8
    users_per_worker: int = 6
    user_base_ram_mb: int = 256
    profiles: Mapping[str, Profile] = field(default_factory=lambda: PROFILES)

    def __post_init__(self) -> None:
        """Check every field against its rule."""
        _check_ladder("ram_ladder", self.ram_ladder)
        _check_ladder("cpu_ladder", self.cpu_ladder)
        for name in ("ram_reserve_mb", "disk_reserve_gb", "user_base_ram_mb"):
            _check_whole(name, getattr(self, name), least=0)
        _check("worker_ram_mb", self.worker_ram_mb, above=0)
        _check_whole("users_per_worker", self.users_per_worker, least=1)
        if not isinstance(self.profiles, Mapping) or not self.profiles:
            raise ConfigError("profiles", "must have at least one profile")
        for one, profile in self.profiles.items():
            if not isinstance(one, str) or not one.isprintable() or not 1 <= len(one) <= _MOST_NAME:
                raise ConfigError("profiles", f"must have names of 1-{_MOST_NAME} printable characters")
            if not isinstance(profile, Profile):
                raise ConfigError("profiles", f"{one} must be a Profile")


@dataclass(frozen=True, slots=True)
class Terms:
    """Every figure of one estimate, as it was computed; `reasoning` is rendered from these and nothing else."""

    profile_name: str
    profile: Profile
    cores: int
    ram_mb: int
    disk_gb: int
    ram_reserved_mb: float
    cpu_reserved: float
    ram_available_mb: int
    cpu_available: float
    disk_available_gb: int
    by_cpu: int
    by_ram: int
    by_disk: int
    workers_by_cpu: int
    workers_by_ram: int
    users_per_worker: int

    @property
    def instances(self) -> int:
        """How many instances fit: the least of the three."""
        return min(self.by_cpu, self.by_ram, self.by_disk)

    @property
    def users(self) -> int:
        """How many concurrent users the workers serve; one worker is cron's."""
        if self.instances == 0:
            return 0
        return self.users_per_worker * max(0, min(self.workers_by_cpu, self.workers_by_ram) - 1)

    @property
    def limit(self) -> str:
        """What runs out first: RAM, CPU or disk."""
        if self.by_ram == self.instances:
            return "RAM"
        return "CPU" if self.by_cpu == self.instances else "Disk"


@dataclass(frozen=True, slots=True)
class CapacityEstimate:
    """What a server can carry. `terms` is None where the hardware is not known yet."""

    cpu_available: float = 0.0
    ram_available_mb: int = 0
    disk_available_gb: int = 0
    max_instances: int = 0
    max_concurrent_users: int = 0
    reasoning: str = "The hardware is not known yet; validate the server first."
    terms: Terms | None = None


def _reserved(amount: float, ladder: Ladder) -> float:
    """Return how much of `amount` is reserved under a ladder of (width, share)."""
    reserved = 0.0
    for width, share in ladder:
        part = min(amount, width)
        reserved += part * share
        amount -= part
        if amount <= 0:
            break
    return reserved


def _down(amount: float) -> int:
    """Round down, but not for the last bit that a decimal share loses as a binary fraction."""
    return floor(round(amount, 6))


def _terms(specs: HardwareSpecs, profile_name: str, settings: CapacitySettings) -> Terms:
    profile = settings.profiles[profile_name]
    ram_mb = specs.ram_total_bytes // MIB
    disk_gb = floor((specs.disk_free_bytes + specs.own_disk_bytes) / GIB)
    ram_reserved = _reserved(ram_mb, settings.ram_ladder) + settings.ram_reserve_mb
    cpu_reserved = _reserved(specs.cpu_cores, settings.cpu_ladder)
    ram = max(0, _down(ram_mb - ram_reserved))
    cpu = max(0.0, specs.cpu_cores - cpu_reserved)
    disk = max(0, disk_gb - settings.disk_reserve_gb)
    return Terms(
        profile_name=profile_name,
        profile=profile,
        cores=specs.cpu_cores,
        ram_mb=ram_mb,
        disk_gb=disk_gb,
        ram_reserved_mb=ram_reserved,
        cpu_reserved=cpu_reserved,
        ram_available_mb=ram,
        cpu_available=_down(cpu * 100) / 100,
        disk_available_gb=disk,
        by_cpu=_down(cpu / profile.cores),
        by_ram=ram // profile.ram_mb,
        by_disk=disk // profile.disk_gb,
        workers_by_cpu=2 * specs.cpu_cores + 1,
        workers_by_ram=max(0, _down((ram - settings.user_base_ram_mb) / settings.worker_ram_mb)),
        users_per_worker=settings.users_per_worker,
    )


def render_reasoning(terms: Terms) -> str:
    """Say in words how the figures came about."""
    profile = terms.profile
    others = {"RAM": terms.by_ram, "CPU": terms.by_cpu, "Disk": terms.by_disk}
    sums = (
        f"{terms.limit} is the limit at {terms.instances} {terms.profile_name} instance(s). "
        f"RAM: {terms.ram_mb} MB - {terms.ram_mb - terms.ram_available_mb} MB reserved = {terms.ram_available_mb} MB; "
        f"/ {profile.ram_mb} MB = {terms.by_ram}. "
        f"CPU: {terms.cores} core(s) - {terms.cpu_reserved:.4g} reserved = {terms.cpu_available:g}; "
        f"/ {profile.cores:g} = {terms.by_cpu}. "
        f"Disk: {terms.disk_gb} GB free or ours - {terms.disk_gb - terms.disk_available_gb} GB reserved "
        f"= {terms.disk_available_gb} GB; / {profile.disk_gb} GB = {terms.by_disk}. "
    )
    if terms.instances == 0:
        short = ", ".join(name for name, count in others.items() if count == 0)
        return f"{sums}Users: none, since no instance fits (short of: {short})."
    workers = min(terms.workers_by_cpu, terms.workers_by_ram)
    if terms.users == 0:
        return f"{sums}Users: none, since the RAM left is for {workers} worker(s), and cron takes one."
    return (
        f"{sums}Users: {workers} worker(s), the lesser of 2 x {terms.cores} + 1 = {terms.workers_by_cpu} by CPU and "
        f"{terms.workers_by_ram} by RAM, one of them for cron; x {terms.users_per_worker} = {terms.users}."
    )


def estimate(
    specs: HardwareSpecs | None, profile: str = "standard", settings: CapacitySettings | None = None
) -> CapacityEstimate:
    """Estimate what a server can carry.

    Args:
        specs: its hardware; None or no cores or no RAM: all zeros, and the reasoning says so.
        profile: the size of an instance, a key of `settings.profiles`.
        settings: the constants; the published ones by default.

    Raises:
        KeyError: there is no such profile.

    """
    settings = settings or CapacitySettings()
    if profile not in settings.profiles:
        raise KeyError(f"no capacity profile {profile!r}; there are: {', '.join(settings.profiles)}")
    if specs is None or not specs.cpu_cores or not specs.ram_total_bytes:
        return CapacityEstimate()
    terms = _terms(specs, profile, settings)
    return CapacityEstimate(
        cpu_available=terms.cpu_available,
        ram_available_mb=terms.ram_available_mb,
        disk_available_gb=terms.disk_available_gb,
        max_instances=terms.instances,
        max_concurrent_users=terms.users,
        reasoning=render_reasoning(terms),
        terms=terms,
    )
