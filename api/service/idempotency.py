"""Idempotency-Key: the same request with the same key is carried out once, and answered alike each time.

After draft-ietf-httpapi-idempotency-key-header-07: another request with a key that was used is refused with 422. Of
equal requests at one time the draft lets the later ones be refused with 409. Here they wait and are answered like the
first one, since a request is one short transaction; one that waits for too long is told so with 503.
"""

from __future__ import annotations

import base64
import json
import re
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlmodel import col, select

from api.data.tables import Answer
from api.errors import Problem
from api.security.seal import Binding, SealBroken

if TYPE_CHECKING:
    from datetime import datetime

    from api.security.seal import Seal
    from api.service.scope import Scope

_TRANSACTION: Final = timedelta(seconds=60)  # longer than any takes
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


def check_key(key: str | None) -> None:
    """Raise `idempotency_key_invalid` where the header's value is none."""
    if key is not None and not _KEY.fullmatch(key):
        raise Problem("idempotency_key_invalid")


def normal(method: str, path: str, body: bytes) -> bytes:
    """Return a request in one spelling, so that the order of its body's fields does not matter.

    It is the body as it was sent: what is read from it is no measure, since a private key is written anew each time.
    """
    return json.dumps([method, path, _spelled(body)], sort_keys=True).encode()


def _spelled(body: bytes) -> Any:
    """Return what a body says; its bytes where it is none that an operation would read."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.hex()


def answered(scope: Scope, seal: Seal, key: str, body: bytes) -> dict[str, Any] | None:
    """Return what this request was answered before, if it was made before."""
    found = scope.session.get(Answer, (scope.organization, key))
    if found is None:
        return None
    same = seal.is_same(found.fingerprint, body)
    if same is None:
        raise Problem("idempotency_conflict", "The key was used before the service's keys were exchanged.")
    if not same:
        raise Problem("idempotency_conflict")
    return _opened(scope, seal, found)


def reserve(scope: Scope, key: str, fingerprint: str) -> Answer:
    """Take a key before anything is done, and return where the answer goes.

    Who comes at the same time waits here until we end, and then finds our answer; if we fail, the key is free again.
    """
    row = Answer(organization_id=scope.organization, key=key, fingerprint=fingerprint)
    scope.session.add(row)
    scope.session.flush()
    return row


def keep(scope: Scope, seal: Seal, row: Answer, answer: dict[str, Any]) -> None:
    """Remember an answer, sealed: it may have a secret in it that is kept in clear nowhere else."""
    envelope = seal.close(json.dumps(answer), _binding(scope, row.key))
    row.body = {"sealed": base64.b64encode(envelope).decode()}


def forget(scope: Scope, seal: Seal, made: str, at: datetime) -> None:
    """Forget the answer to the request that made a thing, which is gone now; its key is free again.

    Args:
        scope: whose it was.
        seal: opens the answers.
        made: the thing's id.
        at: when it was made.

    """
    # A key is taken a moment before the thing is made, in the same transaction.
    when = col(Answer.created_at) >= at - _TRANSACTION, col(Answer.created_at) <= at + _TRANSACTION
    query = select(Answer).where(col(Answer.organization_id) == scope.organization, *when)
    for row in scope.session.exec(query).all():
        # What does not open is shown to nobody.
        with suppress(SealBroken):
            if _opened(scope, seal, row).get("id") == made:
                scope.session.delete(row)


def _opened(scope: Scope, seal: Seal, row: Answer) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(seal.open(base64.b64decode(row.body["sealed"]), _binding(scope, row.key)))
    return answer


def _binding(scope: Scope, key: str) -> Binding:
    return Binding(scope.organization, "", f"answer {key}", "", 0)
