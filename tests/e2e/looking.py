"""Looking for secrets in all that a service keeps: what a thief of backups would have."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.canaries import Canaries
    from tests.e2e.served import Served


def dumped(served: Served) -> Iterator[tuple[str, bytes]]:
    """Yield everything that is kept, each with its name."""
    for file in sorted(served.folder.rglob("*")):
        if file.is_file():
            yield str(file), file.read_bytes()
    yield "the answers", b"\n".join(served.answers)
    if served.storage:
        command = ["pg_dump", served.storage["OCORE_DATABASE_URL"]]
        yield "the dump", subprocess.run(command, capture_output=True, check=True).stdout
        with redis.Redis.from_url(served.storage["OCORE_QUEUE_URL"]) as queue:
            for key in queue.scan_iter():
                yield f"the queue's {key!r}", key + (queue.dump(key) or b"")


def found(served: Served, canaries: Canaries) -> list[str]:
    """Return what is found of secrets in all that is kept."""
    return [f"{name} in {where}" for where, data in dumped(served) for name in canaries.names_in(data)]


def assert_nowhere(served: Served, canaries: Canaries) -> None:
    """Check that no secret is found, and that there was something to look at."""
    kept = dict(dumped(served))
    said = b"".join(data for where, data in kept.items() if "/logs/" in where)
    assert b"run ended" in said
    assert len(served.answers) > 10
    assert not found(served, canaries)
