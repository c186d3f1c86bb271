"""Errors as RFC 9457 problem details: one form for all of them, and no trace of our insides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

import ocore
from api.data.database import AWAY
from api.errors import PROBLEMS, Problem, unavailable
from api.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI, Request

MEDIA_TYPE: Final = "application/problem+json"
# A name, not an address: nobody has to be reachable for a client to know what it means (docs/api.md lists them).
_TYPE: Final = "urn:ocore:problem:"
_BY_STATUS: Final = {
    400: "malformed",
    404: "not_found",
    405: "method_not_allowed",
    401: "unauthorized",
    413: "too_large",
}
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_log = log(__name__)


def response(problem: Problem) -> JSONResponse:
    """Return the answer that tells a problem."""
    status, title, remedy = PROBLEMS[problem.code]
    body: dict[str, Any] = {
        "type": _TYPE + problem.code,
        "title": title,
        "status": status,
        "detail": problem.detail or f"{title}.",
        "code": problem.code,
        "errors": [{"pointer": pointer, "rule": rule} for pointer, rule in problem.errors],
        "remedy": remedy,
        "requestId": structlog.contextvars.get_contextvars().get("request", ""),
    }
    return JSONResponse(body, status, problem.headers, MEDIA_TYPE)


def _pointer(location: Sequence[Any]) -> str:
    """Return where in the body something is, as a JSON pointer (RFC 6901)."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in location[1:]]
    return "".join(f"/{part}" for part in parts)


def _of_validation(error: RequestValidationError) -> Problem:
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return Problem("malformed")
    if any(one["loc"] == ("body",) and one["type"] in {"missing", "model_attributes_type"} for one in found):
        return Problem("invalid", "The body must be a JSON object.", errors=[("", "must be a JSON object")])
    errors = [(_pointer(one["loc"]), _rule(one)) for one in found]
    return Problem(
        "invalid", "; ".join(f"{pointer or 'body'}: {rule}" for pointer, rule in errors) + ".", errors=errors
    )


def _rule(error: Mapping[str, Any]) -> str:
    """Return pydantic's words, without what was sent: that may be a secret."""
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ocore.ConfigError):  # without the library's name of the field: the pointer says which it is
        return cause.rule
    known = {"extra_forbidden": "is not a field of this request", "missing": "is required"}
    words: str = error["msg"].removeprefix("Value error, ")
    return known.get(error["type"], words[:1].lower() + words[1:])


def _allowed(request: Request) -> str:
    """Return every method that a path has; the framework would name those of the first route that matches."""

    def has(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(filter(has, _METHODS))


def install(app: FastAPI) -> None:
    """Have the app tell every error as a problem."""

    @app.exception_handler(Problem)
    def _problem(_: Request, problem: Problem) -> JSONResponse:
        return response(problem)

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return response(_of_validation(error))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        code = _BY_STATUS.get(error.status_code, "invalid" if error.status_code < 500 else "internal")  # noqa: PLR2004
        headers = {"Allow": _allowed(request)} if code == "method_not_allowed" else error.headers
        return response(Problem(code, headers=headers))

    def _database(_: Request, error: Exception) -> JSONResponse:
        _log.warning("the database does not answer", error=type(error).__name__)
        return response(unavailable())

    for kind in AWAY:
        app.add_exception_handler(kind, _database)
