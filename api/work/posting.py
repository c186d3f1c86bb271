"""Sending one message to one webhook: signed after Standard Webhooks, and to the address that was checked.

The name is resolved once, every address that it has must be allowed, and the connection goes to that literal; TLS is
checked against the name. Nothing of an answer but its status is looked at, redirects are not followed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import httpx2

import ocore
from api.errors import Problem
from api.service.endpoints import is_local, parsed, reach

if TYPE_CHECKING:
    import ssl

    from api.service.endpoints import Endpoint
    from api.settings import Settings

GONE: Final = 410
_PREFIX: Final = "whsec_"
_LONGEST_WAIT: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Letter:
    """What is sent, and where."""

    delivery: str
    webhook: str
    organization: str
    message: str
    url: str
    body: str
    secret: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of an attempt.

    Attributes:
        status: the HTTP status; None where there was no answer.
        error: why it is a failure; empty where it is none.
        milliseconds: how long it took.
        wait: how many seconds the endpoint asks to wait before the next attempt.

    """

    status: int | None
    error: str
    milliseconds: int = 0
    wait: float = 0.0


def signature(secret: str, message: str, timestamp: int, body: str) -> str:
    """Return the value of the header `webhook-signature`."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = hmac.new(key, f"{message}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


async def post(letter: Letter, settings: Settings, context: ssl.SSLContext) -> Answered:
    """Make one attempt; it ends in time, whatever the other side does."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(settings.webhook_timeout):
            found = await _post(letter, settings, context)
    except TimeoutError:
        found = Answered(None, f"There was no answer within {settings.webhook_timeout:g} s.")
    except httpx2.HTTPError as error:
        words = str(error.__cause__ or error)[:300]
        found = Answered(None, f"The connection failed ({type(error).__name__}): {words}")
    return Answered(found.status, found.error, int((time.monotonic() - began) * 1000), found.wait)


async def _post(letter: Letter, settings: Settings, context: ssl.SSLContext) -> Answered:
    try:
        endpoint = await asyncio.to_thread(parsed, letter.url, settings)
    except Problem as problem:  # the settings are others than when it was made
        return Answered(None, problem.detail)
    where = await asyncio.to_thread(ocore.resolve, endpoint.host, endpoint.port, reach(settings))
    if isinstance(where, ocore.Failure):
        return Answered(None, where.message)
    if endpoint.scheme == "http" and not is_local(where):
        return Answered(None, "It was not sent: plain HTTP is for this machine itself, and the name leads elsewhere.")
    timeout = httpx2.Timeout(settings.webhook_timeout)
    async with httpx2.AsyncClient(verify=context, trust_env=False, follow_redirects=False, timeout=timeout) as client:
        request = _request(client, letter, endpoint, where)
        answer = await client.send(request, stream=True)
        # Its body is nobody's business: an endpoint must not be able to fill our memory or our log.
        await answer.aclose()
    return _judged(answer)


def _request(client: httpx2.AsyncClient, letter: Letter, endpoint: Endpoint, where: str) -> httpx2.Request:
    stamp = int(time.time())
    headers = {
        "Host": endpoint.authority,
        "Content-Type": "application/json",
        "User-Agent": f"ocore/{version('ocore')}",
        "webhook-id": letter.message,
        "webhook-timestamp": str(stamp),
        "webhook-signature": signature(letter.secret, letter.message, stamp, letter.body),
    }
    url = httpx2.URL(scheme=endpoint.scheme, host=where, port=endpoint.port, raw_path=endpoint.target.encode())
    extensions = {"sni_hostname": endpoint.host}
    return client.build_request("POST", url, content=letter.body.encode(), headers=headers, extensions=extensions)


def _judged(answer: httpx2.Response) -> Answered:
    status = answer.status_code
    if answer.is_success:
        return Answered(status, "")
    if answer.is_redirect:
        return Answered(status, "It redirects, which is not followed: give the address that it leads to.")
    after = answer.headers.get("retry-after", "")
    wait = min(float(after), _LONGEST_WAIT) if after.isascii() and after.isdigit() else 0.0
    return Answered(status, f"It answered {status}.", wait=wait)
