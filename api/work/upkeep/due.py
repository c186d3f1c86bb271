"""Which messages to webhooks are next: no webhook and no organization keeps the others waiting."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func
from sqlmodel import col, select

from api.data.tables import Delivery, DeliveryState, Webhook

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlmodel import Session

    from api.work.posting import Letter

# The most messages on their way: of all, of one organization, and to one webhook. One slow receiver must not hold up
# its owner's others, nor all of one owner's those of somebody else.
AT_ONCE: Final = 16
_OF_ONE: Final = 8
_EACH: Final = 4
_PORTION: Final = 500


def _is_due(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    return col(Delivery.state) == DeliveryState.PENDING, col(Delivery.next_at) <= moment


def chosen(session: Session, moment: datetime, going: Collection[Letter]) -> list[str]:
    """Return the messages to send now, beside those on their way: of whom the fewest are, the longest due first."""
    to = Counter(letter.webhook for letter in going)
    of = Counter(letter.organization for letter in going)
    place = func.row_number().over(
        partition_by=col(Delivery.webhook_id), order_by=(col(Delivery.next_at), col(Delivery.id))
    )
    columns = col(Delivery.id), col(Delivery.webhook_id), col(Delivery.next_at), place.label("place")
    due = select(*columns).where(*_is_due(moment))
    full = [webhook for webhook, count in to.items() if count >= _EACH]
    found = due.where(col(Delivery.webhook_id).not_in(full)).subquery()
    told: tuple[Any, ...] = found.c.id, found.c.webhook_id, found.c.next_at, found.c.place, col(Webhook.organization_id)
    of_webhook = select(*told).join(Webhook, col(Webhook.id) == found.c.webhook_id).where(found.c.place <= _EACH)
    rows = session.execute(of_webhook).all()
    waiting = []
    # A place that becomes free goes to whom the fewest are on their way, not to who had it.
    load = Counter(to)
    for row in sorted(rows, key=lambda row: (load[row.webhook_id] + row.place, row.next_at)):
        if to[row.webhook_id] < _EACH and of[row.organization_id] < _OF_ONE:
            to[row.webhook_id] += 1
            of[row.organization_id] += 1
            waiting.append((of[row.organization_id], row.next_at, row.id))
    return [name for _, _, name in sorted(waiting)[: max(0, AT_ONCE - len(going))]]


def locked(session: Session, names: list[str], moment: datetime) -> list[Delivery]:
    """Return those of the messages that are still due, and that nobody else changes in this transaction."""
    query = select(Delivery).where(col(Delivery.id).in_(names), *_is_due(moment))
    # Who has one of them locked is about to let it go, with its webhook: waiting for that could be in a circle.
    query = query.with_for_update(skip_locked=True).execution_options(populate_existing=True)
    found = {one.id: one for one in session.exec(query).all()}
    return [found[name] for name in names if name in found]


def let_go_surplus(session: Session, most: int) -> int:
    """Let the oldest messages fail where more than so many wait for one webhook; return how many did."""
    pending = col(Delivery.state) == DeliveryState.PENDING
    counted = select(Delivery.webhook_id, func.count()).where(pending).group_by(col(Delivery.webhook_id))
    gone = 0
    for webhook, count in session.exec(counted.having(func.count() > most)).all():
        oldest = select(Delivery).where(pending, col(Delivery.webhook_id) == webhook).order_by(col(Delivery.id))
        surplus = oldest.limit(min(count - most, _PORTION)).with_for_update(skip_locked=True)
        for delivery in session.exec(surplus).all():
            delivery.state, delivery.next_at = DeliveryState.FAILED, None
            session.add(delivery)
            gone += 1
    return gone
