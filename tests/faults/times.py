"""How long runs waited and took, by what the API says of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def waited(run: dict[str, Any]) -> float:
    """Return how long a run waited for its begin."""
    return _between(run["createdAt"], run["startedAt"])


def took(run: dict[str, Any]) -> float:
    """Return how long a run took."""
    return _between(run["startedAt"], run["finishedAt"])


def _between(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
