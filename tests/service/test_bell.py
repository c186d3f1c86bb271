"""The bell on each storage that Huey has for us: it wakes, it is heard once, and it comes back after a loss."""

from __future__ import annotations

import pickle
import socket
import tempfile
import threading
import time
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis

from api.errors import SetupError
from api.settings import Settings
from api.work.bell import Bell
from api.work.storages import FILE, PREFIX
from tests.service.storages import Postgres, Redis, Servers
from tests.service.support import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("file", "redis", "postgres")


@pytest.fixture(params=KINDS)
def settings(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Iterator[Settings]:
    """Return settings with an empty queue of each kind."""
    if request.param == "postgres":
        with servers.database() as url:
            yield Settings(home=tmp_path, queue_url=url)
    else:
        yield Settings(home=tmp_path, queue_url=servers.queue() if request.param == "redis" else "")


@pytest.fixture
def reachable() -> Iterator[Path]:
    """Return a folder in which also PostgreSQL's own user may have files."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def hearing(settings: Settings, count: int = 2) -> Iterator[list[float]]:
    """Have workers that note when they are woken."""
    bell, heard = Bell(settings), list[float]()
    workers = bell.workers(count, lambda: heard.append(time.monotonic()))
    workers.start()
    try:
        yield heard
    finally:
        workers.stop(graceful=True)
        bell.close()


@contextmanager
def ringing(settings: Settings) -> Iterator[Bell]:
    """Have a bell without workers."""
    bell = Bell(settings)
    try:
        yield bell
    finally:
        bell.close()


def lose(settings: Settings) -> None:
    """Take everything away that the queue's storage has."""
    if settings.queue_url.startswith("redis"):
        with redis.Redis.from_url(settings.queue_url) as client:
            client.flushdb()
    elif settings.queue_url:
        with psycopg.connect(settings.queue_url) as connection:
            for name in ("task", "schedule", "kv", "counter"):
                connection.execute(f"DROP TABLE {PREFIX}_{name}")  # type: ignore[arg-type]
    else:
        (settings.home / FILE).unlink()


def test_a_ring_is_heard_soon_in_another_process_s_place(settings: Settings) -> None:
    """Who rings and who hears share nothing but the storage; an idle worker wakes within a second."""
    with hearing(settings) as heard, ringing(settings) as bell:
        time.sleep(0.5)
        rang = time.monotonic()
        bell.ring()
        wait_for(lambda: heard, "it is heard", 5)
        assert heard[0] - rang < 1


def test_each_ring_is_heard_once(settings: Settings) -> None:
    """Of two processes with four workers each, one hears it; rings that waited are counted until then."""
    with ringing(settings) as bell:
        for _ in range(40):
            bell.ring()
        assert bell.waiting() == 40
        with hearing(settings, 4) as one, hearing(settings, 4) as other:
            wait_for(lambda: len(one) + len(other) >= 40, "all are heard")
            time.sleep(0.5)
            assert (len(one) + len(other), bell.waiting()) == (40, 0)


class Touches:
    """What makes a file when it is read as Python's own serialization of values."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make this anew."""
        return Path.touch, (self._path,)


@pytest.mark.promise("A10")
def test_what_a_queue_holds_is_not_believed(settings: Settings, tmp_path: Path) -> None:
    """Whatever stands there is a ring, carried out by nobody, and keeps no other ring from being heard."""
    made = tmp_path / "made"
    attack = pickle.dumps(Touches(made))
    with hearing(settings) as heard, ringing(settings) as bell:
        storage = bell._huey.storage  # noqa: SLF001 - as somebody with access to it would
        task = bell._task.task_class  # noqa: SLF001
        for key in (f"rt:{task.__module__}.{task.__name__}", f"r:{task.__name__}", "huey.ocore"):
            storage.put_data(key, attack)
        for data in (b"", attack, b"\xff" * 100):
            storage.enqueue(data)
        storage.add_to_schedule(attack, datetime.now() - timedelta(hours=1))  # noqa: DTZ005 - as Huey does
        bell.ring()
        wait_for(lambda: len(heard) >= 5, "each is heard")
        time.sleep(1)
        assert (len(heard), bell.waiting()) == (5, 0)
    assert not made.exists()


def test_a_bell_goes_on_after_its_storage_lost_everything(settings: Settings) -> None:
    """A ring or two may be lost with it; the ones after them are heard."""
    with hearing(settings) as heard, ringing(settings) as bell:
        bell.ring()
        wait_for(lambda: heard, "it is heard")
        lose(settings)
        before = len(heard)

        def heard_again() -> bool:
            bell.ring()
            time.sleep(0.2)
            return len(heard) > before

        wait_for(heard_again, "a later ring is heard", 10)


def test_eight_processes_may_make_the_tables_at_once(servers: Servers, tmp_path: Path) -> None:
    """PostgreSQL's "if not exists" alone would fail for some of them."""
    with servers.database() as url:
        bells = [Bell(Settings(home=tmp_path, queue_url=url)) for _ in range(8)]
        begin, found = threading.Barrier(8), list[object]()

        def use(bell: Bell) -> None:
            begin.wait()
            try:
                found.append(bell.waiting())
            except psycopg.Error as error:
                found.append(error)

        threads = [threading.Thread(target=use, args=(bell,)) for bell in bells]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for bell in bells:
            bell.close()
    assert found == [0] * 8


def test_a_bell_takes_few_connections(servers: Servers, tmp_path: Path) -> None:
    """One for each worker and one for all who ring: forty requests at a time are no forty connections."""
    with (
        servers.database() as url,
        hearing(Settings(home=tmp_path, queue_url=url), 3) as heard,
        ringing(Settings(home=tmp_path, queue_url=url)) as bell,
    ):
        threads = [threading.Thread(target=bell.ring) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: len(heard) == 40, "all are heard")
        with psycopg.connect(url) as connection:
            words = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            # Three that wait, the workers' one to take rings with, the one to ring with, and the one that asks.
            [(found,)] = connection.execute(words).fetchall()
            assert found <= 3 + 1 + 1 + 1


@pytest.mark.parametrize("kind", [Redis, Postgres], ids=["redis", "postgres"])
def test_a_storage_that_is_away_holds_up_nobody(kind: type[Redis | Postgres], reachable: Path) -> None:
    """A ring ends soon and without an error while it is stopped, also for who starts then; it works when it is back."""
    server = kind(reachable)
    settings = Settings(home=reachable, queue_url=server.url)
    try:
        with hearing(settings) as heard, ringing(settings) as bell:
            bell.ring()
            wait_for(lambda: heard, "it is heard")
            server.stop()
            began = time.monotonic()
            for _ in range(10):
                bell.ring()
            with ringing(settings) as late:
                late.ring()
            assert time.monotonic() - began < 5
            server.start()
            before = len(heard)

            def heard_again() -> bool:
                bell.ring()
                time.sleep(0.2)
                return len(heard) > before

            wait_for(heard_again, "a later ring is heard", 15)
    finally:
        server.stop()


def test_a_silent_postgres_is_waited_for_once(tmp_path: Path) -> None:
    """Who rings while another one has just waited in vain does not wait in a row."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://ocore@127.0.0.1:{silent.getsockname()[1]}/ocore"
        with ringing(Settings(home=tmp_path, queue_url=url)) as bell:
            began = time.monotonic()
            for _ in range(10):
                bell.ring()
            assert time.monotonic() - began < 6


def test_a_queue_of_another_kind_is_refused_in_words(tmp_path: Path) -> None:
    """The setting is named, and what it may be."""
    with pytest.raises(SetupError, match=r"queue_url must begin with redis://.*postgresql://"):
        Bell(Settings(home=tmp_path, queue_url="amqp://host"))
