"""What every request passes first: an id, who it comes from, and how much it may send.

It is plain ASGI, around the framework: so no route can be added that somebody without a token reaches.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders

from api.data.database import AWAY
from api.data.tables import Organization, RevokedToken
from api.errors import Problem, unavailable
from api.ids import new_id
from api.logs import log
from api.security.tokens import Caller, TokenRefused
from api.service import agents
from api.web.problems import response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from api.data.database import Database
    from api.security.tokens import Tokens
    from api.web.metrics import Metrics

PREFIX: Final = "/api/"
# The one operation that is not for an organization's callers.
HEARTBEAT: Final = "/api/agent/heartbeat"
MAX_BODY: Final = 64 * 1024
REQUEST_ID: Final = "x-request-id"
_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
_LENGTH: Final = re.compile(r"[0-9]{1,19}")
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="ocore"'}
_log = log(__name__)


class Gate:
    """Lets requests in, or answers them itself."""

    def __init__(self, app: ASGIApp, database: Database, tokens: Tokens, metrics: Metrics) -> None:
        self._app = app
        self._database = database
        self._tokens = tokens
        self._metrics = metrics

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

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                found = MutableHeaders(scope=message)
                found[REQUEST_ID] = name
                found["X-Content-Type-Options"] = "nosniff"
                found.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self._pass(scope, receive, answer, headers)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the rest goes on
            _log.exception("a request failed", path=scope["path"])
            await response(Problem("internal"))(scope, receive, answer)
        finally:
            self._metrics.request(scope, status[0], time.monotonic() - began)
            _log.info("request", method=scope["method"], path=scope["path"], status=status[0])

    async def _pass(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        try:
            path, most = _path(scope), MAX_BODY
            if path == HEARTBEAT:
                scope.setdefault("state", {})["agent"] = await self._agent(headers)
                most = agents.MOST
            elif path.startswith(PREFIX):
                scope.setdefault("state", {})["caller"] = await self._caller(headers)
            receive = await _bounded(receive, headers, most)
        except Problem as problem:
            await response(problem)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _caller(self, headers: Headers) -> Caller:
        token = _bearer(headers)
        if not token:
            raise Problem("unauthorized", headers=_CHALLENGE)
        try:
            caller, _ = self._tokens.read(token)
            await run_in_threadpool(self._check, caller)
        except TokenRefused as refused:
            _log.info("token refused", reason=str(refused))
            challenge = {"WWW-Authenticate": _CHALLENGE["WWW-Authenticate"] + ', error="invalid_token"'}
            raise Problem("unauthorized", headers=challenge) from None
        except AWAY:
            raise unavailable() from None
        return caller

    async def _agent(self, headers: Headers) -> agents.Sender:
        """Return whose agent makes the request. It has a token of its server's own, and is let in nowhere else."""
        try:
            return await run_in_threadpool(self._sender, _bearer(headers))
        except AWAY:
            raise unavailable() from None

    def _sender(self, token: str) -> agents.Sender:
        with self._database.read() as session:
            return agents.sender(session, token)

    def _check(self, caller: Caller) -> None:
        with self._database.read() as session:
            if session.get(RevokedToken, caller.token) is not None:
                raise TokenRefused("it was revoked")
            if session.get(Organization, caller.organization) is None:
                raise TokenRefused("its organization is not known")


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
