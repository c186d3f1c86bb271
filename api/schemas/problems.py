"""Answers that are problems, and how the service is."""

from __future__ import annotations

from typing import Literal

from api.schemas.fields import Answer


class ProblemError(Answer):
    """One field that breaks its rule."""

    pointer: str
    rule: str


class ProblemOut(Answer):
    """Why a request failed, and what to do (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[ProblemError]
    remedy: str
    request_id: str


class Health(Answer):
    """Whether the service can work."""

    status: Literal["ok", "failing"]
    checks: dict[str, str]
