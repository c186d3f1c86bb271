"""JSON objects that others write into as well: reading them, and laying values of ours over them."""

from __future__ import annotations

import json
from typing import Any, Dict


def parse(text: str) -> Dict[str, Any]:
    """Return the JSON object that a text is; an empty text is an empty one. Raises ValueError where it is none."""
    try:
        value = json.loads(text) if text.strip() else {}
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if isinstance(value, dict):
        return value
    raise ValueError("it holds no object")


def merged(base: Dict[str, Any], ours: Dict[str, Any]) -> Dict[str, Any]:
    """Return an object with our values laid over it, key by key, without changing either."""
    result = dict(base)
    for name, value in ours.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result
