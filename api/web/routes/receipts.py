"""Receipts, and the keys to check them with."""

from __future__ import annotations

from fastapi import APIRouter

from api.schemas.receipts import ReceiptKeysOut, ReceiptsOut
from api.service import receipts
from api.web.dependencies import TheParts, Viewer
from api.web.routes.responses import NOT_FOUND, PROBLEMS
from api.web.transaction import reading

router = APIRouter(prefix="/api", tags=["receipts"], responses=PROBLEMS)


@router.get("/servers/{id}/receipts", operation_id="getServerReceipts", responses=NOT_FOUND)
def get_receipts(parts: TheParts, caller: Viewer, id: str) -> ReceiptsOut:  # noqa: A002 - as the seed names it
    """Return what was done to a server, signed and chained, oldest first; also when the server is gone."""
    return reading(parts.database, caller, lambda scope: receipts.document(scope, parts.signer, id))


@router.get("/receipts/keys", operation_id="getReceiptKeys")
def get_keys(parts: TheParts, caller: Viewer) -> ReceiptKeysOut:
    """Return the public keys of receipts: keep them, and believe no others."""
    return reading(parts.database, caller, lambda scope: receipts.keys(scope.session, parts.signer))
