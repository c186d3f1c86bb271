"""What the service raises: problems, which answer a request, and faults of its set-up, which end it at start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# For each code: the status, the title, and what to do next.
PROBLEMS: Final[Mapping[str, tuple[int, str, str]]] = {
    "malformed": (400, "The body is not JSON", "Send a JSON object in UTF-8."),
    "idempotency_key_invalid": (
        400,
        "The Idempotency-Key cannot be used",
        "Send 1-255 printable ASCII characters, no blanks.",
    ),
    "unauthorized": (401, "A valid token is needed", "Send `Authorization: Bearer TOKEN`; see `ocore token issue`."),
    "forbidden": (403, "The token lacks a permission", "Use a token with the permission that the detail names."),
    "quota_exceeded": (
        403,
        "The organization has all that it may have",
        "Remove what is not needed, or have the quota raised (`ocore org quota`).",
    ),
    "not_found": (
        404,
        "There is no such thing here",
        "Check the path and the ids in it; another organization's things are not shown.",
    ),
    "method_not_allowed": (405, "The method is not allowed here", "See the API's document at /openapi.json."),
    "name_taken": (409, "The name is taken", "Choose another name."),
    "address_taken": (409, "The address is taken", "Each host and port is one server; use or delete that one."),
    "removing": (409, "The server is being removed", "Wait until it is gone; then create it anew if you like."),
    "busy": (409, "A run is under way or waiting", "Wait for it, or cancel it."),
    "not_failed": (409, "There is nothing to retry", "To bring the server up to date, use POST /servers/{id}/runs."),
    "run_ended": (409, "The run has ended", "Only a run that waits or goes on can be cancelled."),
    "batch_ended": (409, "The batch has ended", "Only a batch whose runs wait or go on can be cancelled."),
    "not_cancellable": (
        409,
        "This run is not to be cancelled",
        "A removal ends by itself, at its deadline at the latest.",
    ),
    "precondition_failed": (
        412,
        "The server was changed meanwhile",
        "Read it again, see whether your change still holds, and send it with the new ETag.",
    ),
    "limit_reached": (409, "There are as many as there may be", "Delete one that is not needed any more."),
    "webhook_disabled": (409, "The webhook is disabled", "Enable it with PUT; then replay what it has missed."),
    "no_agent": (409, "Agents are not set up", "Set OCORE_AGENT_URL: where servers reach the service."),
    "idempotency_conflict": (
        422,
        "The Idempotency-Key was used for another request",
        "Use a new key for a new request.",
    ),
    "too_large": (413, "The body is too large", "Send at most 64 KiB."),
    "unsupported_media_type": (415, "The body is not declared as JSON", "Send `Content-Type: application/json`."),
    "invalid": (422, "A field breaks its rule", "Mend the fields that `errors` names, and send it again."),
    "rate_limited": (429, "There were too many requests", "Wait for as many seconds as `Retry-After` says."),
    "internal": (500, "Something unexpected happened", "Report it with the request id; the log has the rest."),
    "unavailable": (503, "Something that this needs does not answer", "Try again in a moment."),
}


def unavailable(detail: str = "") -> Problem:
    """Return the problem that something which is needed is away for a moment."""
    return Problem("unavailable", detail, headers={"Retry-After": "5"})


class SetupError(Exception):
    """The service cannot start as it is set up."""

    exit_code = 1


class ArgumentError(SetupError):
    """An argument of a command is wrong; nothing was begun."""

    exit_code = 2


class Problem(Exception):  # noqa: N818 - the name of the thing
    """A request is answered with a problem."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
