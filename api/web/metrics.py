"""Prometheus metrics: what the HTTP side did, and how servers and runs stand, counted when they are asked for."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func
from sqlmodel import col, select

from api.data.tables import Run, RunState, Server, ServerStatus, now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric
    from starlette.types import Scope

    from api.data.database import Database

_FRESH_SECONDS: Final = 1.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one app."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ocore_http_requests", "Requests, by route.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "ocore_http_request_seconds", "How long requests took.", ["method", "route"], registry=self.registry
        )
        self.registry.register(_Standing(database))

    def request(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request."""
        # By route, never by path: a path has ids, and each would be a series of its own.
        route: Any = scope.get("route")
        path = getattr(route, "path", "none")
        # Anybody may send any word as a method, and each would stay in memory.
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(method, path).observe(seconds)


class _Standing(Collector):
    """How servers and runs stand."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._until = 0.0
        self._figures: list[GaugeMetricFamily] = []

    def describe(self) -> Iterator[Metric]:
        """Yield nothing, so that registering asks no database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Count, and yield the figures; whoever asks within a second gets the same, since anybody may ask."""
        with self._lock:
            if time.monotonic() > self._until:
                # First: where the database does not answer, the others are not to wait for that one by one.
                self._until = time.monotonic() + _FRESH_SECONDS
                self._figures = []
                self._figures = self._counted()
                self._until = time.monotonic() + _FRESH_SECONDS
            figures = self._figures
        yield from figures

    def _counted(self) -> list[GaugeMetricFamily]:
        with self._database.read() as session:
            servers = dict(session.exec(select(Server.status, func.count()).group_by(Server.status)).all())
            runs = dict(session.exec(select(Run.state, func.count()).group_by(Run.state)).all())
            oldest = session.exec(select(func.min(Run.created_at)).where(col(Run.state) == RunState.QUEUED)).one()
        waiting = (now() - oldest).total_seconds() if oldest else 0.0
        by_status = {one: servers.get(one, 0) for one in ServerStatus}
        return [
            _family("ocore_servers", "Servers, by status.", "status", by_status),
            _family("ocore_runs", "Runs, by state.", "state", {one: runs.get(one, 0) for one in RunState}),
            GaugeMetricFamily(
                "ocore_queue_oldest_seconds", "How long the oldest queued run has waited.", value=max(0.0, waiting)
            ),
        ]


def _family(name: str, words: str, label: str, figures: dict[Any, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=[label])
    for value, count in figures.items():
        family.add_metric([str(value)], count)
    return family
