"""What routes are given: the parts, and a caller who has the permission that the route needs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from api.errors import Problem
from api.parts import Parts
from api.security.tokens import MANAGE, VIEW, Caller

# For the API's document; the gate has looked at the header already.
_BEARER = HTTPBearer(auto_error=False, bearerFormat="JWT", description="`ocore token issue` makes one.")


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


def _caller(request: Request, permission: str) -> Caller:
    caller: Caller = request.state.caller
    if not caller.may(permission):
        raise Problem("forbidden", f"This needs the permission {permission}.")
    return caller


def known_query(request: Request) -> None:
    """Refuse query parameters that an operation does not have: without a misspelled filter it would choose all."""
    known = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    errors = [(f"/{name}", "is not a parameter of this request") for name in request.query_params if name not in known]
    if errors:
        raise Problem("invalid", f"{'; '.join(f'{at}: {rule}' for at, rule in errors)}.", errors=errors)


def _viewer(request: Request, _: Annotated[Any, Security(_BEARER)]) -> Caller:
    return _caller(request, VIEW)


def _manager(request: Request, _: Annotated[Any, Security(_BEARER)]) -> Caller:
    return _caller(request, MANAGE)


TheParts = Annotated[Parts, Depends(_parts)]
Viewer = Annotated[Caller, Depends(_viewer)]
Manager = Annotated[Caller, Depends(_manager)]
