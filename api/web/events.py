"""A run's events as a stream (WHATWG HTML, server-sent events): each has its number, and none is left out."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func
from sqlmodel import col, select
from starlette.concurrency import run_in_threadpool

from api.data.database import AWAY
from api.data.tables import Event, Run, RunState, stamp
from api.errors import Problem

if TYPE_CHECKING:
    import threading
    from collections.abc import AsyncIterator

    from sqlmodel import Session

    from api.parts import Parts

_ENDED: Final = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
_PAUSE: Final = 0.25
# A comment, so that a connection which says nothing is not taken for a dead one.
_PING_SECONDS: Final = 15.0
_BUNDLE: Final = 500
_LONGEST_SECONDS: Final = 900.0
# ASCII only: there are other digits, and int() does not take all of them. No run has more events.
_NUMBER: Final = re.compile(r"[0-9]{1,9}")


def position(given: str | None) -> int:
    """Return the number after which to go on."""
    if given is None or given == "":
        return 0
    if not _NUMBER.fullmatch(given):
        raise Problem("invalid", "Last-Event-ID: must be the number of an event.", errors=[("", "Last-Event-ID")])
    return int(given)


def is_over(session: Session, run: Run, after: int) -> bool:
    """Tell whether a run has ended, and nothing comes after a number."""
    last = session.exec(select(func.max(Event.number)).where(col(Event.run_id) == run.id)).one() or 0
    return run.state in _ENDED and last <= after


async def follow(parts: Parts, run: str, after: int, stopping: threading.Event) -> AsyncIterator[str]:
    """Yield the events of a run after a number, until the run has ended; the last one says so."""
    said = time.monotonic()
    yield "retry: 1000\n\n"
    began = said
    # A client comes back by itself and goes on where it was; by then its token may have been revoked.
    while not stopping.is_set() and time.monotonic() - began < _LONGEST_SECONDS:
        try:
            events, ended = await run_in_threadpool(_since, parts, run, after)
        except AWAY:
            return  # the client comes back, and goes on where it was
        for event in events:
            after, said = event.number, time.monotonic()
            yield _told(event)
        if ended and len(events) < _BUNDLE:
            return
        if time.monotonic() - said > _PING_SECONDS:
            said = time.monotonic()
            yield ": still here\n\n"
        if not events:
            await asyncio.sleep(_PAUSE)


def _since(parts: Parts, run: str, after: int) -> tuple[list[Event], bool]:
    with parts.database.read() as session:
        # The state first: what is written after it is read comes before the end.
        state = session.exec(select(col(Run.state)).where(col(Run.id) == run)).first()
        query = select(Event).where(col(Event.run_id) == run, col(Event.number) > after)
        events = list(session.exec(query.order_by(col(Event.number)).limit(_BUNDLE)).all())
        return events, state is None or state in _ENDED


def _told(event: Event) -> str:
    data: dict[str, Any] = {"at": stamp(event.at), **event.data}
    return f"id: {event.number}\nevent: {event.type}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
