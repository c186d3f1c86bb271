"""Huey as the doorbell and the worker pool.

A ring says only that there may be something to do; which run is next is in the database. So a ring may be lost, come
twice or come from anybody: nothing is lost, done twice or believed.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from huey import Huey
from huey.consumer import Consumer
from huey.registry import Message
from huey.serializer import Serializer

from api.logs import log
from api.work.storages import Tables, storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.settings import Settings

_NAME: Final = "ocore"
_TASK: Final = "ring"
# Seconds between two looks into a queue that cannot wake its readers.
_POLL: Final = 0.1
_POLL_MOST: Final = 0.5
_log = log(__name__)


class _Rings(Serializer):  # type: ignore[misc]
    """Writes each message as the same word, and reads any word as a ring: what a queue holds is never believed."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def _serialize(self, data: Any) -> bytes:  # noqa: ARG002 - there is nothing to tell
        return b"ring"

    def _deserialize(self, data: bytes) -> Message:  # noqa: ARG002 - there is nothing to learn
        return Message(id=str(uuid.uuid4()), name=self._name, args=(), kwargs={}, retries=0, retry_delay=0)


class _Huey(Huey):  # type: ignore[misc]
    """Huey, but no word in its storage keeps a ring from being heard."""

    def is_revoked(self, task: Any, timestamp: Any = None, peek: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002 - Huey's
        """Say no without a look: nobody of ours revokes a ring."""
        return False


class Bell:
    """The doorbell: rings, and has workers that answer."""

    def __init__(self, settings: Settings) -> None:
        self._huey = _Huey(_NAME, results=False, serializer=_Rings(f"{__name__}.{_TASK}"), **storage(settings))
        self._answer: Callable[[], None] | None = None
        self._task = self._huey.task(name=_TASK)(self._ring)
        self._task.task_class.__module__ = __name__
        if isinstance(self._huey.storage, Tables):
            self._huey.on_shutdown(name="leave")(self._huey.storage.leave)

    def _ring(self) -> None:
        if self._answer is not None:
            self._answer()

    def ring(self) -> None:
        """Wake a worker. A queue that does not answer is no error: the run is in the database."""
        try:
            self._task()
        except Exception as error:  # noqa: BLE001 - each storage raises its own
            _log.warning("the queue does not answer; the sweeper will ring again", error=type(error).__name__)

    def waiting(self) -> int:
        """Return how many rings nobody has heard yet; raise what the storage raises."""
        found: int = self._huey.pending_count()
        return found

    def workers(self, count: int, answer: Callable[[], None]) -> Consumer:
        """Return workers that call `answer` for each ring; they must be started."""
        self._answer = answer
        return _Workers(
            self._huey, workers=count, periodic=False, initial_delay=_POLL, max_delay=_POLL_MOST, worker_type="thread"
        )

    def close(self) -> None:
        """Close the connection to the queue."""
        self._huey.storage.close()


class _Workers(Consumer):  # type: ignore[misc]
    """Huey's consumer inside a program of ours, which has its own signal handlers."""

    def _set_signal_handlers(self) -> None:
        """Leave the signals to the program."""
