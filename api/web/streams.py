"""How many streams of events each organization has open in this process: each keeps asking the database."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

from fastapi.responses import StreamingResponse

from api.errors import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from starlette.types import Receive, Scope, Send

_RETRY_SECONDS: Final = 5


class Streams:
    """Places for streams, so many for each organization; 0: any number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, organization: str) -> None:
        """Take a place, or raise `rate_limited` where there is none."""
        with self._lock:
            if self._most and self._open[organization] >= self._most:
                words = f"The organization has {self._most} streams of events open, and may have no more."
                raise Problem("rate_limited", words, headers={"Retry-After": str(_RETRY_SECONDS)})
            self._open[organization] += 1

    def give_back(self, organization: str) -> None:
        """Give a place back."""
        with self._lock:
            self._open[organization] -= 1
            if not self._open[organization]:
                del self._open[organization]


class Stream(StreamingResponse):
    """A stream of events in a place that was taken, which it gives back when it ends, however it ends."""

    def __init__(self, streams: Streams, organization: str, content: AsyncIterator[str], **given: Any) -> None:
        super().__init__(content, media_type="text/event-stream", **given)
        self._streams = streams
        self._organization = organization

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.give_back(self._organization)
