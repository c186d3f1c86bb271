"""What the routes declare of answers that are problems."""

from __future__ import annotations

from typing import Any

from api.schemas.problems import ProblemOut

PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": ProblemOut, "description": words}
    for code, words in {
        401: "No valid token",
        403: "No permission",
        422: "A field breaks its rule",
        429: "Too many requests",
    }.items()
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ProblemOut, "description": "There is no such thing"}}
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": ProblemOut, "description": "Not in this state"}}
OFTEN: dict[int | str, dict[str, Any]] = {
    429: {
        "model": ProblemOut,
        "description": "Too many requests",
        "headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}}},
    }
}
BODY: dict[int | str, dict[str, Any]] = {
    400: {"model": ProblemOut, "description": "The body is not JSON, or the Idempotency-Key is none"},
    413: {"model": ProblemOut, "description": "The body is too large"},
    415: {"model": ProblemOut, "description": "The body is not declared as JSON"},
}
# Of a POST without a body.
KEYED: dict[int | str, dict[str, Any]] = {
    400: {"model": ProblemOut, "description": "The Idempotency-Key is none"},
}
CHANGED: dict[int | str, dict[str, Any]] = {
    412: {"model": ProblemOut, "description": "It is not as If-Match has it"},
}
