"""What every error of the API must look like."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from api.errors import PROBLEMS

if TYPE_CHECKING:
    import httpx2

    from tests.service.support import Service

MEMBERS = {"type", "title", "status", "detail", "code", "errors", "remedy", "requestId"}
_INSIDES = ("Traceback", "site-packages", 'File "', "sqlalchemy", "psycopg", "pydantic", "SELECT ", "INSERT ")


def problem(answer: httpx2.Response, status: int, code: str = "") -> dict[str, Any]:
    """Check that an answer is a problem with a status, and tells nothing of our insides; return its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert set(told) == MEMBERS
    assert told["status"] == status
    assert told["type"].endswith(f":{told['code']}")
    assert code in {"", told["code"]}, told
    assert PROBLEMS[told["code"]] == (status, told["title"], told["remedy"])
    assert told["detail"]
    assert all(set(one) == {"pointer", "rule"} and one["rule"] for one in told["errors"])
    assert told["requestId"] == answer.headers["X-Request-ID"] != ""
    assert not [word for word in _INSIDES if word in answer.text]
    return told


def pointers(answer: httpx2.Response) -> list[str]:
    """Return which fields a 422 names; each is in the detail, too, with its rule."""
    told = problem(answer, 422, "invalid")
    assert all(f"{one['pointer']}: {one['rule']}" in told["detail"] for one in told["errors"])
    return [one["pointer"] for one in told["errors"]]


def send(service: Service, method: str, path: str, body: object) -> httpx2.Response:
    """Send a body as JSON in ASCII, in which every text can be written: also one that is no valid Unicode."""
    return service.call(method, path, content=json.dumps(body), headers={"Content-Type": "application/json"})
