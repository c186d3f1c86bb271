"""What may be done with webhooks and their deliveries."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, update
from sqlmodel import col, select

from api.data.tables import Delivery, DeliveryState, Webhook, now
from api.errors import Problem
from api.ids import is_id
from api.schemas.webhooks import DeliveryOut, WebhookOut
from api.security.seal import Binding
from api.service import audit, idempotency
from api.service.audit import Thing
from api.service.endpoints import origin, parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlmodel import Session

    from api.parts import Parts
    from api.schemas.webhooks import WebhookCreate, WebhookUpdate
    from api.service.scope import Scope

MOST: Final = 50
_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32
_FIELDS: Final = ("url", "events", "description", "enabled")


def binding(hook: Webhook) -> Binding:
    """Return what a webhook's secret is bound to."""
    return Binding(hook.organization_id, hook.id, "webhookSecret", "", 0)


def thing(hook: Webhook) -> Thing:
    """Return a webhook as a thing that is changed."""
    return Thing("webhook", hook.id, origin(hook.url))


def out(hook: Webhook, *, whole: bool = True) -> WebhookOut:
    """Return a webhook, without its secret; unless `whole`, also without the path and query of its address."""
    found = {name: getattr(hook, name) for name in WebhookOut.model_fields}
    return WebhookOut.model_validate(found if whole else found | {"url": origin(hook.url)})


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is otherwise afterwards, of addresses only where they lead."""
    found = audit.changes(before, after)
    for one in found:
        if one["field"] == "url":
            one |= {name: one[name] and origin(one[name]) for name in ("before", "after")}
    return found


def delivery_out(delivery: Delivery) -> DeliveryOut:
    """Return a delivery."""
    return DeliveryOut.model_validate({name: getattr(delivery, name) for name in DeliveryOut.model_fields})


def create(parts: Parts, scope: Scope, body: WebhookCreate) -> tuple[Webhook, str]:
    """Make a webhook; return it, and the secret that is shown this once."""
    parsed(body.url, parts.settings)
    count = scope.session.exec(select(func.count()).select_from(scope.webhooks().subquery())).one()
    if count >= MOST:
        raise Problem("limit_reached", f"An organization has at most {MOST} webhooks.")
    secret = _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    hook = Webhook(organization_id=scope.organization, sealed_secret=b"", **_given(body))
    hook.sealed_secret = parts.seal.close(secret, binding(hook))
    scope.session.add(hook)
    scope.note("webhook.create", thing(hook), _changes({}, _given(body)))
    return hook, secret


def _given(body: WebhookCreate) -> dict[str, Any]:
    return {name: getattr(body, name) for name in _FIELDS}


def listed(scope: Scope) -> list[Webhook]:
    """Return the webhooks, newest first."""
    return list(scope.session.exec(scope.webhooks().order_by(col(Webhook.id).desc())).all())


def change(parts: Parts, scope: Scope, name: str, body: WebhookUpdate) -> Webhook:
    """Change what the body names; what is absent stays. One that is enabled begins anew, with a clean record."""
    hook = scope.webhook(name, lock=True)
    new = {field: getattr(body, field) for field in body.model_fields_set}
    if "url" in new:
        parsed(new["url"], parts.settings)
    before = {field: getattr(hook, field) for field in new}
    if new.get("enabled"):
        hook.disabled_reason, hook.failing_since = "", None
    for field, value in new.items():
        setattr(hook, field, value)
    if not hook.enabled:
        drop_pending(scope.session, hook)
    hook.updated_at = now()
    scope.session.add(hook)
    scope.note("webhook.update", thing(hook), _changes(before, new))
    return hook


def drop_pending(session: Session, hook: Webhook) -> None:
    """Let go what waits for a webhook that is disabled: it can be replayed."""
    waiting = (col(Delivery.webhook_id) == hook.id, col(Delivery.state) == DeliveryState.PENDING)
    session.execute(update(Delivery).where(*waiting).values(state=DeliveryState.FAILED, next_at=None))


def remove(parts: Parts, scope: Scope, name: str) -> None:
    """Delete a webhook, with its secret, its deliveries, and the answer that has its secret once more."""
    hook = scope.webhook(name, lock=True)
    idempotency.forget(scope, parts.seal, hook.id, hook.created_at)
    scope.note("webhook.delete", thing(hook))
    scope.session.delete(hook)


def deliveries(scope: Scope, name: str, *, limit: int, before: str | None) -> list[Delivery]:
    """Return the messages to a webhook, newest first."""
    hook = scope.webhook(name)
    query = select(Delivery).where(col(Delivery.webhook_id) == hook.id).order_by(col(Delivery.id).desc())
    if before is not None:
        query = query.where(col(Delivery.id) < before)
    return list(scope.session.exec(query.limit(limit)).all())


def replay(scope: Scope, name: str, which: str) -> Delivery:
    """Send a message again, whatever became of it, with the same id and body; its schedule begins anew."""
    hook = scope.webhook(name, lock=True)
    query = select(Delivery).where(col(Delivery.id) == which, col(Delivery.webhook_id) == hook.id)
    found = scope.session.exec(query).first() if is_id(which) else None
    if found is None:
        raise Problem("not_found", "There is no such delivery.")
    if not hook.enabled:
        raise Problem("webhook_disabled")
    found.state, found.tries, found.next_at = DeliveryState.PENDING, 0, now()
    scope.session.add(found)
    scope.note("webhook.replay", thing(hook), detail=f"{found.event} {found.message_id}")
    return found
