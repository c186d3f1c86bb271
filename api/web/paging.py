"""Pages of lists: the rest of a list is where a `Link` header leads to (RFC 8288)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar
from uuid import UUID

from fastapi import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import Request, Response


class _Listed(Protocol):
    id: str


_Item = TypeVar("_Item", bound=_Listed)
Cursor = Annotated[UUID | None, Query(description="From a Link header.")]


def page(found: Sequence[_Item], limit: int, request: Request, response: Response) -> list[_Item]:
    """Return a page of what was found: asked for with one more than the limit, so that it is known whether it ends."""
    if len(found) > limit:
        found = found[:limit]
        response.headers["Link"] = f'<{request.url.include_query_params(cursor=found[-1].id)}>; rel="next"'
    return list(found)
