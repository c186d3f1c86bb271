"""How many requests an organization and an address may make, and what an answer says of it.

After draft-ietf-httpapi-ratelimit-headers-10. Counted by the library `limits` over a sliding window, in Redis where
there is one, so that all processes of the API count together; otherwise each process counts its own. See
docs/adr/0013-counting-requests.md.
"""

from __future__ import annotations

import ipaddress
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import redis
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from api.errors import Problem
from api.logs import log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope

    from api.settings import Settings

ADDRESS: Final = "address"
ORGANIZATION: Final = "organization"
FAILURES: Final = "failures"
_WINDOW: Final = 60
_PREFIX: Final = "ocore-limits"
# A request waits for no longer than this for a Redis that does not answer, and then none does for a while.
_PATIENCE: Final = 0.5
_AWAY_SECONDS: Final = 5.0
# Who has one address of version 6 mostly has all that begin like it.
_NETWORK: Final = 64
_log = log(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """How somebody stands with one limit: what is left of it, and in how many seconds there is more."""

    limit: str
    quota: int
    left: int
    seconds: int
    allowed: bool


class Limits:
    """Counts requests."""

    def __init__(self, settings: Settings) -> None:
        given = {
            ADDRESS: settings.rate_address,
            ORGANIZATION: settings.rate_organization,
            FAILURES: settings.rate_failures,
        }
        self._items = {name: RateLimitItemPerMinute(most, namespace=name) for name, most in given.items() if most}
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = _shared(settings.rate_url or settings.queue_url)
        self._away_until = 0.0

    def has(self, limit: str) -> bool:
        """Tell whether there is such a limit."""
        return limit in self._items

    def take(self, limit: str, whose: str) -> list[Standing]:
        """Count a request, and return how that limit stands then; nothing where there is none."""
        return self._asked(limit, whose, counts=True)

    def look(self, limit: str, whose: str) -> list[Standing]:
        """Return how a limit stands, without counting anything; nothing where there is none."""
        return self._asked(limit, whose, counts=False)

    def _asked(self, limit: str, whose: str, *, counts: bool) -> list[Standing]:
        if limit not in self._items:
            return []
        if self._shared is not None and time.monotonic() > self._away_until:
            try:
                return [self._taken(self._shared, limit, whose, counts=counts)]
            except StorageError as error:
                # Limits protect the service; they do not end it. Until Redis is back, each process counts alone.
                self._away_until = time.monotonic() + _AWAY_SECONDS
                _log.warning("requests cannot be counted together", error=type(error.__cause__ or error).__name__)
        return [self._taken(self._own, limit, whose, counts=counts)]

    def _taken(self, limiter: SlidingWindowCounterRateLimiter, limit: str, whose: str, *, counts: bool) -> Standing:
        item = self._items[limit]
        allowed = limiter.hit(item, whose) if counts else limiter.test(item, whose)
        stats = limiter.get_window_stats(item, whose)
        seconds = min(max(1, math.ceil(stats.reset_time - time.time())), _WINDOW)
        return Standing(limit, item.amount, max(0, stats.remaining) if allowed else 0, seconds, allowed)


def _shared(url: str) -> SlidingWindowCounterRateLimiter | None:
    if not url.startswith(("redis://", "rediss://", "unix://")):
        return None
    patience: dict[str, Any] = {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE}
    pool = redis.ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **patience)
    return SlidingWindowCounterRateLimiter(
        RedisStorage(url, connection_pool=pool, key_prefix=_PREFIX, wrap_exceptions=True)
    )


def check(standings: Sequence[Standing]) -> None:
    """Raise `rate_limited` where a limit is reached."""
    reached = [one for one in standings if not one.allowed]
    if reached:
        told = ", ".join(f"{one.quota} a minute for the {one.limit}" for one in reached)
        wait = str(max(one.seconds for one in reached))
        raise Problem("rate_limited", f"There were more requests than {told}.", headers={"Retry-After": wait})


def headers(standings: Sequence[Standing]) -> dict[str, str]:
    """Return what an answer says of the limits that it was counted for."""
    if not standings:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{one.limit}";q={one.quota};w={_WINDOW}' for one in standings),
        "RateLimit": ", ".join(f'"{one.limit}";r={one.left};t={one.seconds}' for one in standings),
    }


def address(scope: Scope) -> str:
    """Return whose address a request is counted for: the client's, or what a trusted proxy says it is."""
    client = scope.get("client")
    given: str = client[0] if client else ""
    try:
        found = ipaddress.ip_address(given)
    except ValueError:
        return given
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped or ipaddress.ip_network((found.packed, _NETWORK), strict=False))
    return str(found)
