"""One request's transaction, made again where another request was faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import structlog
from sqlalchemy.exc import IntegrityError

from api.service.audit import Actor
from api.service.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.data.database import Database
    from api.security.tokens import Caller

_Result = TypeVar("_Result")
_TRIES = 3


def writing(database: Database, caller: Caller, use: Callable[[Scope], _Result]) -> _Result:
    """Carry out a use case that writes.

    Two requests may find a name free at the same time: the database lets one of them through, and the other one looks
    again and finds it taken.
    """
    for _ in range(_TRIES - 1):
        try:
            return _once(database, caller, use)
        except IntegrityError:
            continue
    return _once(database, caller, use)


def _once(database: Database, caller: Caller, use: Callable[[Scope], _Result]) -> _Result:
    with database.write() as session:
        return use(Scope(session, caller.organization, _actor(caller)))


def _actor(caller: Caller) -> Actor:
    request = structlog.contextvars.get_contextvars().get("request", "")
    return Actor("token", caller.subject, caller.token, str(request))


def reading(database: Database, caller: Caller, use: Callable[[Scope], _Result]) -> _Result:
    """Carry out a use case that reads."""
    with database.read() as session:
        return use(Scope(session, caller.organization))
