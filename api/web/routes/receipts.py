"""Receipts, and the keys to check them with."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.schemas.receipts import ReceiptKeysOut, ReceiptsOut
from api.service import receipts
from api.web.dependencies import TheParts, Viewer
from api.web.routes.responses import NOT_FOUND, PROBLEMS
from api.web.transaction import reading

router = APIRouter(prefix="/api", tags=["receipts"], responses=PROBLEMS)


@router.get("/servers/{id}/receipts", operation_id="getServerReceipts", responses=NOT_FOUND)
def get_receipts(
    parts: TheParts,
    caller: Viewer,
    request: Request,
    response: Response,
    id: str,  # noqa: A002 - as the seed names it
    *,
    limit: Annotated[int, Query(ge=1, le=1000, description="The most to return.")] = 500,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="The number after which to begin.")] = 0,
) -> ReceiptsOut:
    """Return what was done to a server, signed and chained, oldest first; also when the server is gone.

    A `Link` header leads to the rest. The statement is about all of them: the receipts of all pages, with the statement
    of the last page, are what can be verified.
    """
    found, last = reading(
        parts.database, caller, lambda scope: receipts.document(scope, parts.signer, id, after=after, limit=limit)
    )
    if last is not None:
        response.headers["Link"] = f'<{request.url.include_query_params(after=last)}>; rel="next"'
    return found


@router.get("/receipts/keys", operation_id="getReceiptKeys")
def get_keys(parts: TheParts, caller: Viewer) -> ReceiptKeysOut:
    """Return the public keys of receipts: keep them, and believe no others."""
    return reading(parts.database, caller, lambda scope: receipts.keys(scope.session, parts.signer))
