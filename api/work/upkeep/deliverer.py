"""Delivers what is in the outbox of webhooks: at least once, again and again after a schedule, several at a time."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlmodel import col, select

from api.data.tables import Delivery, DeliveryState, Webhook, now
from api.logs import log
from api.security.seal import SealBroken
from api.service import audit
from api.service.webhooks import binding, drop_pending, thing
from api.work.posting import GONE, Answered, Letter, post
from api.work.upkeep.lead import leads
from api.work.upkeep.loop import Loop

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session
    from sqlmodel.sql.expression import SelectOfScalar

    from api.parts import Parts
    from api.settings import Settings

_LEAD: Final = "deliverer"
_PAUSE: Final = 0.5
# A slow endpoint must not hold up the others.
_AT_ONCE: Final = 16
_EACH: Final = 4
_LOOK_AT: Final = 200
# What one takes is left to it for its longest attempt and this much more; if it dies, somebody else sends it then.
_SLACK: Final = 45.0
_JITTER: Final = 0.2
_TICK: Final = 0.1
_log = log(__name__)


class Deliverer:
    """A thread that delivers, in one process at a time."""

    def __init__(self, parts: Parts, owner: str) -> None:
        self._parts = parts
        self._owner = owner
        self._hold = parts.settings.webhook_timeout + _SLACK
        self._context: ssl.SSLContext | None = None
        self._loop = Loop("deliverer", self.deliver, _PAUSE)

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def stop(self) -> None:
        """End: what is being sent is broken off, and sent again by another process."""
        self._loop.stop()

    def deliver(self) -> None:
        """Send what is due, once."""
        with self._parts.database.read() as session:
            if session.exec(_due(now()).limit(1)).first() is None:
                return
        if not leads(self._parts.database, _LEAD, self._owner, self._hold):
            return
        letters = self._take()
        if letters:
            asyncio.run(self._send(letters))

    def _take(self) -> list[Letter]:
        """Return what to send now; until it is known what came of it, it is left to us."""
        moment = now()
        taken: list[Letter] = []
        each: Counter[str] = Counter()
        with self._parts.database.write() as session:
            for delivery in session.exec(_due(moment).order_by(col(Delivery.next_at)).limit(_LOOK_AT)).all():
                if len(taken) == _AT_ONCE or each[delivery.webhook_id] == _EACH:
                    continue
                hook = session.get(Webhook, delivery.webhook_id)
                letter = self._letter(hook, delivery) if hook is not None else None
                delivery.next_at = moment + timedelta(seconds=self._hold)
                session.add(delivery)
                each[delivery.webhook_id] += 1
                taken += [letter] if letter is not None else []
        return taken

    def _letter(self, hook: Webhook, delivery: Delivery) -> Letter | None:
        try:
            secret = self._parts.seal.open(hook.sealed_secret, binding(hook))
        except SealBroken as broken:  # another machine may have the key
            _log.error("a webhook's secret cannot be opened", webhook=hook.id, why=str(broken))
            return None
        return Letter(delivery.id, delivery.message_id, hook.url, delivery.body, secret)

    async def _send(self, letters: list[Letter]) -> None:
        pending = {asyncio.create_task(self._send_one(letter)) for letter in letters}
        while pending:
            _, pending = await asyncio.wait(pending, timeout=_TICK)
            if self._loop.stopping.is_set():
                for task in pending:
                    task.cancel()

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


def _due(moment: datetime) -> SelectOfScalar[Delivery]:
    return select(Delivery).where(col(Delivery.state) == DeliveryState.PENDING, col(Delivery.next_at) <= moment)


def _locked(session: Session, name: str) -> tuple[Webhook | None, Delivery | None]:
    """Return a delivery and its webhook, which nobody else changes in this transaction: the webhook first."""
    found = session.get(Delivery, name)
    if found is None:
        return None, None
    hook = session.get(Webhook, found.webhook_id, with_for_update={"key_share": True}, populate_existing=True)
    return hook, session.get(Delivery, name, with_for_update=True, populate_existing=True)


def _enter(delivery: Delivery, answered: Answered) -> None:
    stamp = now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    entry = {
        "at": stamp,
        "status": answered.status,
        "error": answered.error,
        "duration_ms": answered.milliseconds,
    }
    delivery.attempts = [*delivery.attempts, entry]
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
