"""Stable names for tests: processes that share a run must agree on them, and keys are made anew in each."""

from __future__ import annotations


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a parameter that holds a key or a fingerprint by what it is, not by its value."""
    made = isinstance(val, str) and ("AAAA" in val or "SHA256:" in val)
    return argname if made else None
