"""What every request passes first: an id, who it comes from, and how much it may send.

It is plain ASGI, around the framework: so no route can be added that somebody without a token reaches.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from sqlmodel import col, select
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders

from api.data.database import AWAY
from api.data.tables import Organization, RevokedToken
from api.errors import Problem, unavailable
from api.ids import new_id
from api.logs import log
from api.security.issuers import KeysMissing, KeysPending
from api.security.tokens import Caller, TokenRefused
from api.service import agents
from api.web import limits
from api.web.problems import response

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from api.data.database import Database
    from api.security.issuers import Issuers
    from api.security.tokens import Tokens
    from api.web.limits import Limits, Standing
    from api.web.metrics import Metrics

PREFIX: Final = "/api/"
# The one operation that is not for an organization's callers.
HEARTBEAT: Final = "/api/agent/heartbeat"
# Whoever looks after the service asks these as often as it likes; of heartbeats each server's own are counted.
UNCOUNTED: Final = ("/health/", "/metrics")
MAX_BODY: Final = 64 * 1024
REQUEST_ID: Final = "x-request-id"
_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
_LENGTH: Final = re.compile(r"[0-9]{1,19}")
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="ocore"'}
# How long a request that waits for an issuer's keys sleeps before it looks again.
_PAUSE: Final = 0.05
_Who = TypeVar("_Who")
_log = log(__name__)


class Gate:
    """Lets requests in, or answers them itself."""

    def __init__(
        self, app: ASGIApp, database: Database, tokens: Tokens, issuers: Issuers, metrics: Metrics, limits: Limits
    ) -> None:
        self._app = app
        self._database = database
        self._tokens = tokens
        self._issuers = issuers
        self._metrics = metrics
        self._limits = limits
        self._heard = agents.Heard()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID, "")
        name = given if _ID.fullmatch(given) else new_id()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=name)
        began, status = time.monotonic(), [500]
        standings: list[Standing] = []

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                found = MutableHeaders(scope=message)
                found[REQUEST_ID] = name
                found["X-Content-Type-Options"] = "nosniff"
                found.setdefault("Cache-Control", "no-store")
                found.update(limits.headers(standings))
            await send(message)

        try:
            await self._pass(scope, receive, answer, headers, standings)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the rest goes on
            _log.exception("a request failed", path=scope["path"])
            await response(Problem("internal"))(scope, receive, answer)
        finally:
            self._metrics.request(scope, status[0], time.monotonic() - began)
            _log.info("request", method=scope["method"], path=scope["path"], status=status[0])

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, headers: Headers, standings: list[Standing]
    ) -> None:
        try:
            path, most = _path(scope), MAX_BODY
            address = limits.address(scope)
            if path != HEARTBEAT and not path.startswith(UNCOUNTED):
                await self._count(limits.ADDRESS, address, standings)
            if path == HEARTBEAT:
                with_failures = self._counting_failures(self._agent(headers, address), address, standings)
                scope.setdefault("state", {})["agent"] = await with_failures
                most = agents.MOST
            elif path.startswith(PREFIX):
                caller = await self._counting_failures(self._caller(headers), address, standings)
                scope.setdefault("state", {})["caller"] = caller
                await self._count(limits.ORGANIZATION, caller.organization, standings)
            receive = await _bounded(receive, headers, most)
        except Problem as problem:
            await response(problem)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _count(self, limit: str, whose: str, standings: list[Standing]) -> None:
        """Count a request, note how that limit stands then, and refuse the request if it is reached."""
        if self._limits.has(limit):
            standings += await run_in_threadpool(self._limits.take, limit, whose)
            limits.check(standings)

    async def _counting_failures(self, found: Awaitable[_Who], address: str, standings: list[Standing]) -> _Who:
        try:
            return await found
        except Problem as problem:
            # A valid token is taken from everywhere: somebody behind the same proxy must not be able to lock it out.
            if problem.code == "unauthorized":
                await self._count(limits.FAILURES, address, standings)
            raise

    async def _caller(self, headers: Headers) -> Caller:
        token = _bearer(headers)
        if not token:
            raise Problem("unauthorized", headers=_CHALLENGE)
        try:
            if self._issuers.issued(token):
                caller = await self._of_another_issuer(token)
            else:
                caller, _ = self._tokens.read(token)
            return await run_in_threadpool(self._checked, caller)
        except TokenRefused as refused:
            _log.info("token refused", reason=str(refused))
            challenge = {"WWW-Authenticate": _CHALLENGE["WWW-Authenticate"] + ', error="invalid_token"'}
            raise Problem("unauthorized", headers=challenge) from None
        except AWAY:
            raise unavailable() from None

    async def _of_another_issuer(self, token: str) -> Caller:
        """Read a token; while its issuer's keys are fetched, wait without holding a thread."""
        deadline = time.monotonic() + self._issuers.patience
        while True:
            try:
                return self._issuers.read(token)
            except KeysMissing:
                raise unavailable("The keys of the token's issuer cannot be had.") from None
            except KeysPending:
                if time.monotonic() > deadline:
                    raise unavailable("The keys of the token's issuer cannot be had yet.") from None
            await asyncio.sleep(_PAUSE)

    async def _agent(self, headers: Headers, address: str) -> agents.Sender:
        """Return whose agent makes the request. It has a token of its server's own, and is let in nowhere else."""
        token = _bearer(headers)
        agents.check_form(token)
        # To know a token takes the database: who has tried too many may only come with one that was good before, for
        # there may be others at the same address.
        if not self._heard.has(token):
            limits.check(await run_in_threadpool(self._limits.look, limits.FAILURES, address))
        try:
            found = await run_in_threadpool(self._sender, token)
        except AWAY:
            raise unavailable() from None
        except Problem as problem:
            if problem.code == "unauthorized":  # it may have been good before
                self._heard.forget(token)
            raise
        self._heard.add(token)
        return found

    def _sender(self, token: str) -> agents.Sender:
        with self._database.read() as session:
            return agents.sender(session, token)

    def _checked(self, caller: Caller) -> Caller:
        """Return the caller, if the token still counts and the organization is there."""
        with self._database.read() as session:
            if session.get(RevokedToken, caller.token) is not None:
                raise TokenRefused("it was revoked")
            found = session.get(Organization, caller.organization)
            if found is None and caller.issuer:
                # Others know an organization by its name, too. None is ever made because a token names it.
                by_name = select(Organization).where(col(Organization.name) == caller.organization)
                found = session.exec(by_name).first()
            if found is None:
                raise TokenRefused("its organization is not known")
            return replace(caller, organization=found.id)


def _bearer(headers: Headers) -> str:
    """Return the token that was sent; nothing where there is none."""
    words = headers.get("authorization", "").split()
    # The seed's own example sends the bare token.
    if words and words[0].lower() == "bearer":
        words = words[1:]
    return words[0] if len(words) == 1 else ""


def _path(scope: Scope) -> str:
    """Return the path as routes see it: without the prefix below which another server has us."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    return path.removeprefix(prefix) if prefix and path.startswith(f"{prefix}/") else path


async def _bounded(receive: Receive, headers: Headers, most: int) -> Receive:
    """Read the body, if it is not too large and JSON, and return what hands it on."""
    if _too_long(headers.get("content-length", "0"), most):
        raise Problem("too_large")
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > most:
            raise Problem("too_large")
    if body and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem("unsupported_media_type")
    handed = False

    async def replay() -> Message:
        nonlocal handed
        if handed:
            return await receive()
        handed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _too_long(length: str, most: int) -> bool:
    return not _LENGTH.fullmatch(length) or int(length) > most
