"""The bodies of requests and answers about webhooks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, WithJsonSchema

from api.data.tables import DeliveryState
from api.schemas.fields import Answer, Description, Moment, Request

EventName = Literal["server.active", "server.error", "server.unreachable", "server.removed", "drift.found"]
EVENTS: tuple[EventName, ...] = (
    "server.active",
    "server.error",
    "server.unreachable",
    "server.removed",
    "drift.found",
)
MAX_URL = 2000


def _once(events: list[EventName]) -> list[EventName]:
    """Return the events in their order, each once."""
    return [one for one in EVENTS if one in events]


# The service checks the rest: what is allowed depends on its settings.
Url = Annotated[
    str,
    Field(min_length=1, max_length=MAX_URL),
    WithJsonSchema({"type": "string", "format": "webhook-url", "minLength": 1, "maxLength": MAX_URL}),
]
Events = Annotated[list[EventName], Field(min_length=1, max_length=50), AfterValidator(_once)]


class WebhookCreate(Request):
    """Where events are to be sent, and which."""

    url: Url
    events: Events = Field(default_factory=lambda: list(EVENTS))
    description: Description = ""
    enabled: StrictBool = True


class WebhookUpdate(Request):
    """What is to change of a webhook; what is absent stays. The defaults here stand for "absent" only."""

    url: Url = ""
    events: Events = Field(default_factory=lambda: list(EVENTS))
    description: Description = ""
    enabled: StrictBool = True


class WebhookOut(Answer):
    """A webhook; its secret is shown once, when it is made."""

    id: str
    url: str
    events: list[EventName]
    description: str
    enabled: bool
    disabled_reason: str
    failing_since: Moment | None
    created_at: Moment
    updated_at: Moment


class WebhookCreated(WebhookOut):
    """A new webhook, with the secret that its messages are signed with."""

    secret: str


class WebhookList(Answer):
    """The webhooks of an organization, newest first."""

    webhooks: list[WebhookOut]


class AttemptOut(Answer):
    """One attempt to deliver: the status that was answered, or why there is none."""

    at: str
    status: int | None
    error: str
    duration_ms: int


class DeliveryOut(Answer):
    """One message to one webhook."""

    id: str
    message_id: str
    event: EventName
    body: str
    state: DeliveryState
    attempts: list[AttemptOut]
    next_at: Moment | None
    created_at: Moment


class DeliveryList(Answer):
    """The messages to a webhook, newest first."""

    deliveries: list[DeliveryOut]
