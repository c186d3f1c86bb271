"""The bodies of answers about receipts. What is signed goes out as it was signed: docs/receipts.md has its members."""

from __future__ import annotations

from typing import Any

from api.schemas.fields import Answer, Moment


class SignedReceiptOut(Answer):
    """A receipt, who signed it, and the signature."""

    receipt: dict[str, Any]
    key: str
    signature: str


class SignedStatementOut(Answer):
    """How many receipts there are, signed."""

    statement: dict[str, Any]
    key: str
    signature: str


class ReceiptsOut(Answer):
    """The receipts of a server, oldest first, with a statement of how many there are."""

    receipts: list[SignedReceiptOut]
    statement: SignedStatementOut


class ReceiptKeyOut(Answer):
    """A public key in base64, and whether it signs new receipts."""

    key: str
    active: bool
    created_at: Moment | None


class ReceiptKeysOut(Answer):
    """Every public key that has signed a receipt, and the one that signs now; oldest first."""

    keys: list[ReceiptKeyOut]
