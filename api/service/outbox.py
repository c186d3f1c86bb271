"""The outbox: an event becomes a message to each webhook that wants it, in the transaction that makes the event."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from api.data.tables import Delivery, Webhook, now, stamp
from api.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlmodel import Session


def put(session: Session, organization: str, event: str, data: Mapping[str, Any]) -> None:
    """Put an event into the outbox of every webhook that wants it; to all of them it has the same id."""
    wanted = select(Webhook).where(col(Webhook.organization_id) == organization, col(Webhook.enabled).is_(True))
    # One that is being deleted is waited for: a message to it would take the event's whole transaction with it.
    wanted = wanted.order_by(col(Webhook.id)).with_for_update(read=True, key_share=True)
    hooks = [one for one in session.exec(wanted).all() if event in one.events]
    if not hooks:
        return
    moment = now()
    # What is signed is what is sent: the body is spelled once.
    body = json.dumps(
        {"type": event, "timestamp": stamp(moment), "data": data}, ensure_ascii=False, separators=(",", ":")
    )
    message = f"msg_{new_id().replace('-', '')}"
    for hook in hooks:
        session.add(
            Delivery(webhook_id=hook.id, message_id=message, event=event, body=body, next_at=moment, created_at=moment)
        )
