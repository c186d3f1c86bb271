"""Provisioning receipts: what was done to a server, signed, and chained so that none can be left out.

A receipt is a JSON object in one canonical spelling (keys in order, no blanks, UTF-8). It names the SHA-256 of the
receipt before it, and is signed with Ed25519 over its canonical bytes. A document has the signed receipts of one
server, oldest first, and a signed statement of how many there were when it was made: without it, nobody could tell
that the newest were cut off. Who has the public key checks a document without any service. See docs/receipts.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

VERSION: Final = 1
RECEIPT: Final = "receipt"
STATEMENT: Final = "statement"
_KEY_BYTES: Final = 32
_WHOLE: Final = -1
_CHANGED: Final = "its signature is not right: it was changed, or signed with another key"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a document is not to be believed.

    Attributes:
        index: the receipt's place in the document, from 0; -1 where it is about the document as a whole.
        reason: why, in words.

    """

    index: int
    reason: str

    def __str__(self) -> str:
        """Return both, for people, who count from 1."""
        return f"receipt {self.index + 1}: {self.reason}" if self.index >= 0 else f"the document: {self.reason}"


def canonical(value: Mapping[str, Any]) -> bytes:
    """Return an object in its one spelling."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an object's canonical bytes, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def public_key(private: bytes) -> str:
    """Return the public key that belongs to a private one (32 bytes), in base64."""
    public = Ed25519PrivateKey.from_private_bytes(private).public_key()
    return base64.b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def is_public_key(text: str) -> bool:
    """Tell whether a text is a public key in base64."""
    try:
        return len(base64.b64decode(text, validate=True)) == _KEY_BYTES
    except ValueError:
        return False


def sign(kind: str, value: Mapping[str, Any], private: bytes) -> dict[str, Any]:
    """Return a signed receipt or statement.

    Args:
        kind: which of the two; a signature of one is none of the other.
        value: what is signed: texts, whole numbers, booleans, nulls, and lists and objects of these.
        private: the key's 32 bytes.

    Raises:
        ValueError: there is a number with a fraction in it, for which JSON has many spellings.

    """
    if not _has_one_spelling(value):
        raise ValueError("what is signed has no fractions")
    signature = Ed25519PrivateKey.from_private_bytes(private).sign(_signed_bytes(kind, value))
    return {kind: dict(value), "key": public_key(private), "signature": base64.b64encode(signature).decode()}


def _has_one_spelling(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and _has_one_spelling(one) for name, one in value.items())
    if isinstance(value, list | tuple):
        return all(_has_one_spelling(one) for one in value)
    return value is None or isinstance(value, str | int)


def _signed_bytes(kind: str, value: Mapping[str, Any]) -> bytes:
    """Return what is signed; the words before it keep a signature from being taken for one of another kind."""
    return f"ocore {kind} {VERSION}\n".encode() + canonical(value)


def verify(
    document: object, keys: Collection[str], *, server: str | None = None, last: str | None = None
) -> tuple[Fault, ...]:
    """Check a document.

    Args:
        document: what `GET /api/servers/{id}/receipts` answers, read from JSON. Of the keys in it, none is believed.
        keys: the public keys that are believed, in base64.
        server: the id of the server that it must be about; the first receipt's where None, so it must be named where
            there is no receipt.
        last: the digest that the last receipt must have, from elsewhere; then no statement is needed.

    Returns:
        Every fault; none where all of it is to be believed.

    """
    if not isinstance(document, dict) or not isinstance(document.get("receipts"), list):
        return (Fault(_WHOLE, "it is no document of receipts"),)
    more = _beside(document, "receipts", STATEMENT)
    if more:
        return (Fault(_WHOLE, f"something stands in it that nobody signed: {more}"),)
    faults: list[Fault] = []
    before: dict[str, Any] | None = None
    for index, signed in enumerate(document["receipts"]):
        found = _fault_of_one(RECEIPT, signed, keys)
        if found is not None:
            faults.append(Fault(index, found))
            before = None
            continue
        receipt = signed[RECEIPT]
        server = server or _server_of(receipt)
        found = _fault_of_place(receipt, before, index, server)
        faults += [Fault(index, found)] if found else []
        before = receipt
    if not faults:
        found = _fault_of_end(document, keys, server, before, last)
        faults += [Fault(_WHOLE, found)] if found else []
    return tuple(faults)


def _server_of(receipt: Mapping[str, Any]) -> str | None:
    server = receipt.get("server")
    found = server.get("id") if isinstance(server, dict) else None
    return found if isinstance(found, str) else None


def _fault_of_one(kind: str, signed: Any, keys: Collection[str]) -> str | None:
    """Return what is wrong with something signed by itself."""
    if not isinstance(signed, dict) or not isinstance(signed.get(kind), dict):
        return f"it is no signed {kind}"
    more = _beside(signed, kind, "key", "signature")
    if more:
        return f"something stands beside what is signed: {more}"
    key = signed.get("key")
    if not isinstance(key, str) or key not in keys:
        return f"its key {key!r} is not among those that are believed"
    if signed[kind].get("version") != VERSION:
        return f"it has another form than {VERSION}"
    try:
        signature = _decoded(signed.get("signature"))
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
        public.verify(signature, _signed_bytes(kind, signed[kind]))
    except (InvalidSignature, ValueError, RecursionError):
        return _CHANGED
    return None


def _beside(found: Mapping[str, Any], *known: str) -> str:
    """Return the names that an object has besides those that are known, as text."""
    return ", ".join(str(name) for name in found if name not in known)


def _decoded(text: object) -> bytes:
    """Return what a text in base64 stands for, or raise ValueError where it is spelled in another way than ours."""
    found = base64.b64decode(str(text), validate=True)
    if base64.b64encode(found).decode() != text:
        raise ValueError("another spelling")
    return found


def _fault_of_place(
    receipt: Mapping[str, Any], before: Mapping[str, Any] | None, index: int, server: str | None
) -> str | None:
    """Return what is wrong with where a receipt stands."""
    if _server_of(receipt) != server:
        return f"it is about another server ({_server_of(receipt)})"
    if before is not None and receipt.get("previous") != digest(before):
        return "a receipt before it is missing, or stands in another place"
    if index == 0 and receipt.get("previous") is not None:
        return "it is not the first: those before it are missing"
    return None


def _fault_of_end(
    document: Mapping[str, Any],
    keys: Collection[str],
    server: str | None,
    newest: Mapping[str, Any] | None,
    last: str | None,
) -> str | None:
    """Return what is wrong with where a chain ends: a chain that was cut off at its end is still a chain."""
    found = digest(newest) if newest is not None else None
    if last is not None and found != last:
        return "its last receipt is another one than was named: newer ones are missing, or came since"
    signed = document.get(STATEMENT)
    if signed is None:
        return None if last is not None else "it has no statement: nobody can tell whether the last ones were removed"
    wrong = _fault_of_one(STATEMENT, signed, keys)
    if wrong is not None:
        return f"of its statement: {wrong}"
    stated, count = signed[STATEMENT], len(document["receipts"])
    if server is not None and stated.get("server") != server:
        return f"its statement is about another server ({stated.get('server')})"
    if stated.get("count") != count or stated.get("last") != found:
        told = f"{stated.get('count')} receipt(s) at {stated.get('at')}, and here are {count}"
        return f"its statement tells of {told}: the last ones are missing, or others than were stated"
    return None if server is not None else "it has no receipts: name the server that it must be about"
