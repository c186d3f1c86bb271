"""The kinds of fields in requests and answers, each with its rule."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictInt,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

import ocore
from api.data.tables import stamp

MAX_NAME = 100
MAX_DESCRIPTION = 1000
MAX_SESSIONS = 50


def _plain(text: str) -> str:
    """Refuse what no database takes as text."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must be valid Unicode without NUL")
    return text


def _name(text: str) -> str:
    trimmed = _plain(text).strip()
    if not 1 <= len(trimmed) <= MAX_NAME or not trimmed.isprintable():
        raise ValueError(f"must be 1-{MAX_NAME} characters without control characters, blanks around it not counted")
    return trimmed


def _password(text: str | None) -> str | None:
    ocore.check_password("sshPassword", text)
    return text


def _private_key(text: str | None) -> str | None:
    return ocore.check_private_key(text) if text is not None else None


def _given(value: Any) -> Any:
    """Take an empty credential for none."""
    return None if value == "" else value


Moment = Annotated[
    datetime, PlainSerializer(stamp), WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization")
]
Number = Annotated[int, WithJsonSchema({"type": "number"}, mode="serialization")]
Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_NAME})]
Host = Annotated[str, AfterValidator(ocore.check_host), WithJsonSchema({"type": "string", "format": "ssh-host"})]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
User = Annotated[
    str,
    AfterValidator(ocore.check_user),
    WithJsonSchema({"type": "string", "pattern": r"^[a-z_][a-z0-9._-]{0,63}$"}),
]
PrivateKey = Annotated[
    str | None,
    BeforeValidator(_given),
    AfterValidator(_private_key),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "ssh-private-key"}, {"type": "null"}]}),
]
Password = Annotated[
    str | None,
    BeforeValidator(_given),
    AfterValidator(_password),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "ssh-password", "maxLength": 1024}, {"type": "null"}]}),
]
Sessions = Annotated[StrictInt, Field(ge=1, le=MAX_SESSIONS)]
EventNumber = Annotated[str | None, WithJsonSchema({"type": "string", "pattern": "^[0-9]{0,9}$"})]
IdempotencyKey = Annotated[str | None, WithJsonSchema({"type": "string", "pattern": "^[!-~]{1,255}$"})]
EntityTags = Annotated[str | None, WithJsonSchema({"type": "string", "format": "entity-tags"})]
PlainText = Annotated[str, AfterValidator(_plain)]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION), AfterValidator(_plain)]
AuthMethod = Literal["key", "password"]
ProxyType = Literal["caddy", "nginx", "traefik", "none"]
# The service checks them: it knows which ones go with the kind of run.
# A site may have steps of its own, so the names are no enumeration.
ChosenStep = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[a-z][a-z0-9_]{0,39}$",
            "examples": [step.name for step in ocore.STEPS if not step.validates],
        }
    ),
]
Fingerprint = Annotated[
    str,
    AfterValidator(ocore.check_fingerprint),
    WithJsonSchema({"type": "string", "pattern": "^SHA256:[A-Za-z0-9+/]{43}$"}),
]


def _without_defaults(schema: dict[str, Any]) -> None:
    """Leave defaults out of a body's schema: clients that are made of it would send them, or ask for them.

    In a PUT they would change what nobody named. docs/api.md has them.
    """
    for field in schema["properties"].values():
        field.pop("default", None)


class Request(BaseModel):
    """A body that comes in: unknown keys are refused, and no message repeats what was sent."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", hide_input_in_errors=True, json_schema_extra=_without_defaults
    )


class Answer(BaseModel):
    """A body that goes out."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)
