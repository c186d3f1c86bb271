"""Agents: their tokens, and what they tell.

A token is made when a run first needs it, and again when somebody wants another one; runs in between find it as it was.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlmodel import col, select

from api.data.locks import lock_server
from api.data.tables import AgentStatus, Sample, Server, ServerStatus, now
from api.errors import Problem
from api.logs import log
from api.schemas.runs import RunCreate
from api.security.seal import KeyMissing, SealBroken
from api.service import runs, standing
from api.service.audit import server_thing
from api.service.mapping import AGENT_TOKEN, binding

if TYPE_CHECKING:
    from sqlmodel import Session

    from api.data.tables import Run
    from api.parts import Parts
    from api.schemas.agents import Heartbeat
    from api.security.seal import Seal
    from api.service.scope import Scope
    from api.settings import Settings

# A heartbeat that comes sooner after the last one is refused.
_APART: Final = timedelta(seconds=5)
# The most bytes of a heartbeat.
MOST: Final = 4096
_HEARD: Final = 20_000
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="ocore-agent"'}
_PREFIX: Final = "oca_"
_TOKEN: Final = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}")
_log = log(__name__)


# --- tokens -----------------------------------------------------------------------------------------------------------


def digest(token: str) -> str:
    """Return by what a token is known. It is too long to be guessed, so that a plain digest of it tells nothing."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """Return a token that nobody has."""
    return _PREFIX + secrets.token_urlsafe(32)


def known_token(server: Server, seal: Seal) -> str | None:
    """Return a server's token; None where there is none that opens.

    Raises:
        KeyMissing: it cannot be opened on this machine.

    """
    if server.sealed_agent_token is None:
        return None
    try:
        return seal.open(server.sealed_agent_token, binding(server, AGENT_TOKEN))
    except KeyMissing:
        raise
    except SealBroken:
        _log.warning("an agent's token does not open, provisioning makes a new one", server=server.id)
        return None


def token_for(session: Session, server: Server, seal: Seal, *, anew: bool) -> str:
    """Return a server's token for a run; one is made where there is none, or a new one is wanted.

    Raises:
        KeyMissing: it cannot be opened on this machine.

    """
    known = None if anew else known_token(server, seal)
    if known is not None:
        return known
    token = new_token()
    server.sealed_agent_token = seal.close(token, binding(server, AGENT_TOKEN))
    server.agent_token_hash = digest(token)
    session.add(server)
    return token


def forget_token(server: Server) -> None:
    """Make a server's token worthless at once; the next run that needs one makes another."""
    server.sealed_agent_token = server.agent_token_hash = None


def rotate(scope: Scope, settings: Settings, name: str, by: str) -> Run:
    """Make a server's token worthless, and queue the run that brings it a new one."""
    server = scope.server(name, lock=True)
    if not settings.agent_url:
        raise Problem("no_agent")
    run = runs.create(settings, scope, name, RunCreate(kind="provision", steps=["agent"]), by)
    scope.note("server.rotate-agent-token", server_thing(server))
    forget_token(server)
    server.updated_at = now()
    scope.session.add(server)
    return run


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose agent makes a request, and by which token it is known."""

    server: str
    known: str


class Heard:
    """The tokens of the agents that were heard of last, by their digests."""

    def __init__(self) -> None:
        self._known: dict[str, None] = {}

    def add(self, token: str) -> None:
        """Remember a token; the one that was heard of the longest ago is forgotten where there are too many."""
        known = digest(token)
        self._known.pop(known, None)
        self._known[known] = None
        if len(self._known) > _HEARD:
            self._known.pop(next(iter(self._known)))

    def forget(self, token: str) -> None:
        """Forget a token that is worthless."""
        self._known.pop(digest(token), None)

    def has(self, token: str) -> bool:
        """Tell whether a token is remembered; it may be worthless by now."""
        return digest(token) in self._known


def check_form(token: str) -> None:
    """Raise `unauthorized` where a text cannot be a token, whatever the database has."""
    if not _TOKEN.fullmatch(token):
        raise Problem("unauthorized", headers=_CHALLENGE)


def sender(session: Session, token: str) -> Sender:
    """Return whose token it is, or raise `unauthorized`; `rate_limited` where the last heartbeat came just now."""
    check_form(token)
    known = digest(token)
    found = session.exec(select(Server).where(col(Server.agent_token_hash) == known)).first()
    # What an index does in which time tells something of digests, and nothing of tokens.
    if found is None or not hmac.compare_digest(found.agent_token_hash or "", known):
        raise Problem("unauthorized", headers=_CHALLENGE)
    _check_rate(found)
    return Sender(found.id, known)


# --- heartbeats -------------------------------------------------------------------------------------------------------


def take(parts: Parts, sender: Sender, told: Heartbeat) -> None:
    """Take a heartbeat: it is a sign of life of the server, and says how it is doing."""
    with parts.database.write() as session:
        server = lock_server(session, sender.server)
        # The token may have been made worthless a moment ago.
        if server is None or server.agent_token_hash != sender.known:
            raise Problem("unauthorized", headers=_CHALLENGE)
        _check_rate(server)
        _take(session, server, told)


def _check_rate(server: Server) -> None:
    """Raise `rate_limited` where the last heartbeat came a moment ago."""
    last = server.agent_last_seen_at
    ahead = last + _APART - now() if last is not None else timedelta()
    # A moment that lies ahead is one of a clock that was wrong.
    if timedelta() < ahead <= _APART:
        raise Problem("rate_limited", headers={"Retry-After": str(int(ahead.total_seconds()) + 1)})


def _take(session: Session, server: Server, told: Heartbeat) -> None:
    moment = now()
    server.agent_version, server.agent_last_seen_at, server.last_seen_at = told.version, moment, moment
    standing.set_status(server, AgentStatus.CONNECTED)
    server.misses = 0
    if server.status == ServerStatus.UNREACHABLE:
        server.status, server.status_message, server.status_code = (
            ServerStatus.ACTIVE,
            "Its agent tells of it again.",
            "",
        )
        server.updated_at = moment
        _log.info("a server changed its state", server=server.id, status=server.status)
    session.add(server)
    # Where our clock was set back, a second may come twice.
    session.merge(
        Sample(
            server_id=server.id,
            second=int(moment.timestamp()),
            load=told.load,
            memory_total_bytes=told.memory_total_bytes,
            memory_available_bytes=told.memory_available_bytes,
            disk_total_bytes=told.disk_total_bytes,
            disk_free_bytes=told.disk_free_bytes,
            docker=told.docker,
            uptime_seconds=told.uptime_seconds,
        )
    )
