"""What every POST of an organization is carried out by: once for each Idempotency-Key, however often it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from api.schemas.fields import IdempotencyKey
from api.service import idempotency
from api.web.dependencies import Manager, TheParts
from api.web.transaction import writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.parts import Parts
    from api.security.tokens import Caller
    from api.service.scope import Scope

_Body = TypeVar("_Body", bound=BaseModel)


class _Once:
    """Carries out a use case, or gives the answer that the same request with the same key has had.

    Attributes:
        replayed: whether the answer was given before, so that nothing was done now.

    """

    def __init__(self, parts: Parts, caller: Caller, request: Request, response: Response, key: str | None) -> None:
        idempotency.check_key(key)
        self._parts = parts
        self._caller = caller
        self._key = key
        self._request = request
        self._response = response
        self._sent = b""
        self.replayed = False

    def take(self, sent: bytes) -> None:
        """Take the body as it was sent."""
        self._sent = sent

    def __call__(self, model: type[_Body], use: Callable[[Scope], _Body]) -> _Body:
        """Carry out a use case that writes, in one transaction with the memory of its answer.

        Args:
            model: what the use case returns.
            use: the use case.

        """
        if self._key is None:
            return writing(self._parts.database, self._caller, use)
        made, self.replayed = writing(self._parts.database, self._caller, lambda scope: self._keyed(scope, model, use))
        if self.replayed:
            self._response.headers["Idempotency-Replayed"] = "true"
        return made

    def _keyed(self, scope: Scope, model: type[_Body], use: Callable[[Scope], _Body]) -> tuple[_Body, bool]:
        key, seal = self._key or "", self._parts.seal
        # With the secrets in it: by a key of ours, so that it tells nobody else anything.
        same = idempotency.normal(self._request.method, str(self._request.url.path), self._sent)
        known = idempotency.answered(scope, seal, key, same)
        if known is not None:
            return model.model_validate(known), True
        answer = idempotency.reserve(scope, key, seal.fingerprint(same))
        made = use(scope)
        idempotency.keep(scope, seal, answer, made.model_dump(mode="json"))
        return made, False


async def _once(
    parts: TheParts,
    caller: Manager,
    request: Request,
    response: Response,
    idempotency_key: Annotated[
        IdempotencyKey, Header(description="The same key: the same answer, carried out once.")
    ] = None,
) -> _Once:
    once = _Once(parts, caller, request, response, idempotency_key)
    once.take(await request.body())
    return once


Once = Annotated[_Once, Depends(_once)]
