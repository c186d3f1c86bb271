"""Webhooks, what was sent to them, and sending it again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.schemas.webhooks import (
    DeliveryList,
    DeliveryOut,
    WebhookCreate,
    WebhookCreated,
    WebhookList,
    WebhookOut,
    WebhookUpdate,
)
from api.security.tokens import MANAGE
from api.service import webhooks
from api.service.scope import Scope
from api.web.dependencies import Manager, TheParts, Viewer
from api.web.once import Once
from api.web.paging import Cursor, page
from api.web.routes.responses import BODY, CONFLICT, KEYED, NOT_FOUND, PROBLEMS
from api.web.transaction import reading, writing

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"], responses=PROBLEMS)


@router.get("", operation_id="listWebhooks")
def list_webhooks(parts: TheParts, caller: Viewer) -> WebhookList:
    """Return the organization's webhooks, newest first; of `url` path and query only to who may manage them."""

    def use(scope: Scope) -> WebhookList:
        return WebhookList(webhooks=[webhooks.out(one, whole=caller.may(MANAGE)) for one in webhooks.listed(scope)])

    return reading(parts.database, caller, use)


@router.post("", status_code=201, operation_id="createWebhook", responses=BODY | CONFLICT | KEYED)
def create_webhook(parts: TheParts, once: Once, body: WebhookCreate, response: Response) -> WebhookCreated:
    """Have events sent to an address. The secret that they are signed with is in this answer, and never shown again."""

    def use(scope: Scope) -> WebhookCreated:
        hook, secret = webhooks.create(parts, scope, body)
        return WebhookCreated(**webhooks.out(hook).model_dump(by_alias=False), secret=secret)

    made = once(WebhookCreated, use)
    response.headers["Location"] = f"/api/webhooks/{made.id}"
    return made


@router.get("/{id}", operation_id="getWebhook", responses=NOT_FOUND)
def get_webhook(parts: TheParts, caller: Viewer, id: str) -> WebhookOut:  # noqa: A002 - as the seed names it
    """Return a webhook; of `url` path and query only to who may manage it."""
    whole = caller.may(MANAGE)
    return reading(parts.database, caller, lambda scope: webhooks.out(scope.webhook(id), whole=whole))


@router.put("/{id}", operation_id="updateWebhook", responses=NOT_FOUND | BODY)
def update_webhook(parts: TheParts, caller: Manager, id: str, body: WebhookUpdate) -> WebhookOut:  # noqa: A002 - as the seed names it
    """Change what the body names. Disabled, what waits for it fails; enabled, it begins with a clean record."""
    return writing(parts.database, caller, lambda scope: webhooks.out(webhooks.change(parts, scope, id, body)))


@router.delete("/{id}", status_code=204, operation_id="deleteWebhook", responses=NOT_FOUND)
def delete_webhook(parts: TheParts, caller: Manager, id: str) -> None:  # noqa: A002 - as the seed names it
    """Delete a webhook, with its secret and its deliveries."""
    writing(parts.database, caller, lambda scope: webhooks.remove(parts, scope, id))


@router.get("/{id}/deliveries", operation_id="listDeliveries", responses=NOT_FOUND)
def list_deliveries(
    parts: TheParts,
    caller: Viewer,
    request: Request,
    response: Response,
    id: str,  # noqa: A002 - as the seed names it
    *,
    limit: Annotated[int, Query(ge=1, le=500, description="The most to return.")] = 100,
    cursor: Cursor = None,
) -> DeliveryList:
    """Return what was or is to be sent to a webhook, newest first; a `Link` header leads to the rest."""

    def use(scope: Scope) -> list[DeliveryOut]:
        found = webhooks.deliveries(scope, id, limit=limit + 1, before=str(cursor) if cursor else None)
        return [webhooks.delivery_out(one) for one in found]

    return DeliveryList(deliveries=page(reading(parts.database, caller, use), limit, request, response))


@router.post(
    "/{id}/deliveries/{delivery}/replay",
    status_code=202,
    operation_id="replayDelivery",
    responses=NOT_FOUND | CONFLICT | KEYED,
)
def replay_delivery(once: Once, id: str, delivery: str) -> DeliveryOut:  # noqa: A002 - as the seed names it
    """Send a message again, with the same id and body; its schedule of attempts begins anew."""

    def use(scope: Scope) -> DeliveryOut:
        return webhooks.delivery_out(webhooks.replay(scope, id, delivery))

    return once(DeliveryOut, use)
