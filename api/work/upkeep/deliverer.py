"""Delivers what is in the outbox of webhooks: at least once, again and again after a schedule, several at a time."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from api.data.database import AWAY
from api.data.tables import Delivery, DeliveryState, Webhook, now, stamp
from api.logs import log
from api.security.seal import SealBroken
from api.service import audit
from api.service.webhooks import binding, drop_pending, thing
from api.work.posting import GONE, Answered, Letter, post
from api.work.upkeep import due
from api.work.upkeep.lead import leads
from api.work.upkeep.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlmodel import Session

    from api.parts import Parts
    from api.settings import Settings

_LEAD: Final = "deliverer"
_PAUSE: Final = 0.5
# What one takes is left to it for its longest attempt and this much more; if it dies, somebody else sends it then.
_SLACK: Final = 45.0
_JITTER: Final = 0.2
_TICK: Final = 0.1
_BOUND_SECONDS: Final = 60.0
# A message may be replayed for as long as it is kept: of its attempts the newest are told.
_ATTEMPTS: Final = 100
_UNSENT: Final = "The webhook's secret cannot be opened on the machine that sends; its log tells more."
_log = log(__name__)


class Deliverer:
    """A thread that delivers, in one process at a time."""

    def __init__(self, parts: Parts, owner: str) -> None:
        self._parts = parts
        self._owner = owner
        self._hold = parts.settings.webhook_timeout + _SLACK
        self._bound_at = 0.0
        self._context: ssl.SSLContext | None = None
        self._loop = Loop("deliverer", self.deliver, _PAUSE)

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def stop(self) -> None:
        """End: what is being sent is broken off, and sent again by another process."""
        self._loop.stop()

    def deliver(self) -> None:
        """Send what is due, and what becomes due while something is on its way."""
        letters = self._take()
        if letters:
            asyncio.run(self._send(letters))

    def _take(self, going: Collection[Letter] = ()) -> list[Letter]:
        """Return what to send beside what is on its way; until it is known what came of it, it is left to us."""
        moment = now()
        with self._parts.database.read() as session:
            found = due.chosen(session, moment, going)
        if not found or not leads(self._parts.database, _LEAD, self._owner, self._hold):
            return []
        self._bound_what_waits()
        taken: list[Letter] = []
        with self._parts.database.write() as session:
            for delivery in due.locked(session, found, moment):
                hook = session.get(Webhook, delivery.webhook_id)
                letter = self._letter(hook, delivery) if hook is not None else None
                if letter is not None:
                    delivery.next_at = moment + timedelta(seconds=self._hold)
                    taken.append(letter)
                else:
                    unsent = Answered(None, _UNSENT)
                    _enter(delivery, unsent)
                    _put_off(delivery, unsent, self._parts.settings)
                session.add(delivery)
        return taken

    def _bound_what_waits(self) -> None:
        if time.monotonic() < self._bound_at:
            return
        self._bound_at = time.monotonic() + _BOUND_SECONDS
        with self._parts.database.write() as session:
            gone = due.let_go_surplus(session, self._parts.settings.webhook_waiting)
        if gone:
            _log.warning("messages to webhooks were given up, since too many waited", count=gone)

    def _letter(self, hook: Webhook, delivery: Delivery) -> Letter | None:
        try:
            secret = self._parts.seal.open(hook.sealed_secret, binding(hook))
        except SealBroken as broken:
            _log.error("a webhook's secret cannot be opened", webhook=hook.id, why=str(broken))
            return None
        of = hook.id, hook.organization_id
        return Letter(delivery.id, *of, delivery.message_id, hook.url, delivery.body, secret)

    async def _send(self, letters: list[Letter]) -> None:
        """Send, and fill each place that becomes free: nobody waits for the slowest."""
        going: dict[asyncio.Task[None], Letter] = {}
        looked = time.monotonic()
        while letters or going:
            going |= {asyncio.create_task(self._send_one(letter)): letter for letter in letters}
            letters = []
            done, _ = await asyncio.wait(going, timeout=_TICK, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del going[task]
            if self._loop.stopping.is_set():
                for task in going:
                    task.cancel()
            elif going and (done or time.monotonic() - looked > _PAUSE):
                looked = time.monotonic()
                letters = await self._more(list(going.values()))

    async def _more(self, going: list[Letter]) -> list[Letter]:
        try:
            return await asyncio.to_thread(self._take, going)
        except AWAY:
            return []  # what is on its way goes on

    async def _send_one(self, letter: Letter) -> None:
        self._context = self._context or ssl.create_default_context(cafile=self._parts.settings.webhook_ca_file or None)
        try:
            answered = await post(letter, self._parts.settings, self._context)
        except asyncio.CancelledError:
            self._give_back(letter)
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the rest goes on
            _log.exception("a delivery failed in a way that was not expected", delivery=letter.delivery)
            answered = Answered(None, "oCore itself failed; its log tells more.")
        await asyncio.to_thread(self._record, letter, answered)

    def _give_back(self, letter: Letter) -> None:
        with self._parts.database.write() as session:
            found = session.get(Delivery, letter.delivery)
            if found is not None:
                found.next_at = now()
                session.add(found)

    def _record(self, letter: Letter, answered: Answered) -> None:
        """Write down what came of an attempt, and when the next one is."""
        with self._parts.database.write() as session:
            hook, delivery = _locked(session, letter.delivery)
            if hook is None or delivery is None:
                return
            _enter(delivery, answered)
            if not answered.error:
                delivery.state, delivery.next_at, hook.failing_since = DeliveryState.DELIVERED, None, None
            else:
                _put_off(delivery, answered, self._parts.settings)
                hook.failing_since = hook.failing_since or now()
                _disable_if_hopeless(session, hook, answered, self._parts.settings)
            session.add(hook)
            session.add(delivery)
        _log.info("webhook", delivery=letter.delivery, status=answered.status, error=answered.error)


def _locked(session: Session, name: str) -> tuple[Webhook | None, Delivery | None]:
    """Return a delivery and its webhook, which nobody else changes in this transaction: the webhook first."""
    found = session.get(Delivery, name)
    if found is None:
        return None, None
    hook = session.get(Webhook, found.webhook_id, with_for_update={"key_share": True}, populate_existing=True)
    return hook, session.get(Delivery, name, with_for_update=True, populate_existing=True)


def _enter(delivery: Delivery, answered: Answered) -> None:
    entry = {
        "at": stamp(now()),
        "status": answered.status,
        "error": answered.error,
        "duration_ms": answered.milliseconds,
    }
    delivery.attempts = [*delivery.attempts, entry][-_ATTEMPTS:]
    delivery.tries += 1


def _put_off(delivery: Delivery, answered: Answered, settings: Settings) -> None:
    """Set the time of the next attempt; after the last one there is none."""
    if delivery.tries > len(settings.webhook_schedule) or delivery.state != DeliveryState.PENDING:
        delivery.state, delivery.next_at = DeliveryState.FAILED, None
        return
    planned = settings.webhook_schedule[delivery.tries - 1]
    # So that what failed together does not come back together.
    later = planned * (1 + _JITTER * secrets.SystemRandom().random())
    delivery.next_at = now() + timedelta(seconds=max(later, answered.wait))


def _disable_if_hopeless(session: Session, hook: Webhook, answered: Answered, settings: Settings) -> None:
    """Disable an endpoint that says it is gone, or that has taken nothing for too long."""
    assert hook.failing_since is not None  # noqa: S101 - set by the caller
    if answered.status == GONE:
        why = "It answered 410 Gone."
    elif now() - hook.failing_since > timedelta(days=settings.webhook_disable_days):
        why = f"Every delivery failed since {hook.failing_since:%Y-%m-%d %H:%M} UTC."
    else:
        return
    hook.enabled, hook.disabled_reason, hook.updated_at = False, why, now()
    session.flush()
    drop_pending(session, hook)
    audit.note(session, "webhook.disable", thing(hook), organization=hook.organization_id, detail=why)
    _log.warning("a webhook was disabled", webhook=hook.id, why=why)
