"""Watches servers: a cheap look at who answers at their address, without any credential."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, or_
from sqlmodel import col, select

import ocore
from api.data.locks import lock_server
from api.data.tables import Run, RunState, Server, ServerStatus, now
from api.logs import log
from api.service import standing
from api.service.mapping import known_server
from api.work import sessions
from api.work.outcome import set_error
from api.work.upkeep.lead import leads
from api.work.upkeep.loop import Loop

if TYPE_CHECKING:
    from api.parts import Parts

_LEAD: Final = "monitor"
_LEAD_SECONDS: Final = 15.0
_WATCHED: Final = (ServerStatus.ACTIVE, ServerStatus.UNREACHABLE)
# A dead host takes its time; others must not wait for it.
_AT_ONCE: Final = 16
# The longest that a probe takes: two connections and a key exchange, each with a limit of its own.
_PROBE_SECONDS: Final = 60.0
# While its agent tells of a server, only every so many intervals somebody looks whether its host key is still the same.
_TRUSTED: Final = 9
# After a miss the next look comes sooner.
_AFTER_MISS: Final = 10.0
_log = log(__name__)


class Monitor:
    """A thread that watches, in one process at a time."""

    def __init__(self, parts: Parts, owner: str, transport: Any = None) -> None:
        self._parts = parts
        self._owner = owner
        self._transport = transport
        self._interval = timedelta(seconds=parts.settings.monitor_interval)
        self._free = threading.Semaphore(_AT_ONCE)
        self._led_until = 0.0
        self._loop = Loop("monitor", self._step, 1 / parts.settings.monitor_rate)

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def stop(self) -> None:
        """End; probes that are under way end by themselves."""
        self._loop.stop()

    def _step(self) -> None:
        """Begin one probe, if this process leads and a server is due."""
        if time.monotonic() > self._led_until:
            if not leads(self._parts.database, _LEAD, self._owner, _LEAD_SECONDS):
                self._loop.stopping.wait(_LEAD_SECONDS / 3)
                return
            self._led_until = time.monotonic() + _LEAD_SECONDS / 3
        # A server is taken only once somebody can look at it: its connection is held from then on.
        if not self._free.acquire(timeout=1):
            return
        server = None
        try:
            server = self._next()
        finally:
            if server is None:
                self._free.release()
        if server is not None:
            threading.Thread(target=self._probe, args=(server,), name="probe", daemon=True).start()

    def _next(self) -> Server | None:
        """Return the next server to look at, with a connection taken for it."""
        moment = now()
        with self._parts.database.read() as session:
            busy = select(Run.server_id).where(col(Run.state) == RunState.RUNNING)
            # A heartbeat is a sign of life as good as a probe's; only the host key is not in it.
            alone = or_(
                col(Server.agent_last_seen_at).is_(None),
                col(Server.agent_last_seen_at) < moment - self._interval,
                col(Server.probe_at) <= moment - self._interval * _TRUSTED,
            )
            due = or_(col(Server.probe_at).is_(None), and_(col(Server.probe_at) <= moment, alone))
            query = select(Server.id).where(col(Server.status).in_(_WATCHED), due, col(Server.id).not_in(busy))
            found = session.exec(query.order_by(col(Server.probe_at).nulls_first()).limit(1)).first()
        if found is None:
            return None
        with self._parts.database.write() as session:
            server = lock_server(session, found)
            if server is None or server.status not in _WATCHED:
                return None
            session.add(server)
            if not sessions.take(session, server, _slot(server), _PROBE_SECONDS):
                server.probe_at = moment + self._interval
                return None
            # Not while this look goes on; its end says when the next one comes.
            server.probe_at = moment + max(self._interval, timedelta(seconds=_PROBE_SECONDS))
            session.flush()
            session.expunge(server)
            return server

    def _probe(self, server: Server) -> None:
        try:
            options = self._parts.settings.options(server.proxy_type)
            found = ocore.probe(known_server(server), options, transport=self._transport)
            with self._parts.database.write() as session:
                sessions.give_back(session, _slot(server))
                current = lock_server(session, server.id)
                if current is not None:
                    current.probe_at = now() + self._interval
                    session.add(current)
                # What was seen is about the server as it was asked, not as somebody has changed it meanwhile.
                same = current is not None and current.generation == server.generation
                if current is not None and same and current.host_key_epoch == server.host_key_epoch:
                    self._note(current, found)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the rest goes on
            _log.exception("a probe failed", server=server.id)
        finally:
            self._free.release()

    def _note(self, server: Server, found: ocore.HostKey | ocore.Failure) -> None:
        if server.status not in _WATCHED:
            return
        if not isinstance(found, ocore.Failure):
            server.misses, server.last_seen_at = 0, now()
            if server.status == ServerStatus.UNREACHABLE:
                self._turn(server, ServerStatus.ACTIVE, "It answers again.", "")
        elif found.code is ocore.ErrorCode.HOST_KEY_CHANGED:
            set_error(server, found)
            server.updated_at = now()
            _log.warning("the host key changed", server=server.id)
        elif not standing.vouches(server, self._parts.settings, now()):
            server.misses += 1
            if server.status == ServerStatus.ACTIVE:  # one that is known to be away has time
                server.probe_at = now() + min(self._interval, timedelta(seconds=_AFTER_MISS))
            if server.misses >= self._parts.settings.monitor_misses and server.status == ServerStatus.ACTIVE:
                self._turn(server, ServerStatus.UNREACHABLE, str(found), found.code)

    def _turn(self, server: Server, status: ServerStatus, message: str, code: str) -> None:
        server.status, server.status_message, server.status_code = status, message, code
        server.updated_at = now()
        _log.info("a server changed its state", server=server.id, status=status)


def _slot(server: Server) -> str:
    """Return the name by which a probe holds its connection: there is one probe of a server at a time."""
    return f"probe-{server.id}"
