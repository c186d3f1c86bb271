"""The storages that tests run on: SQLite files, and private PostgreSQL and Redis servers that are started here.

Servers that somebody else runs are used only where a URL names them: OCORE_TEST_POSTGRES_URL (a user that may create
databases) and OCORE_TEST_REDIS_URL.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psycopg
import redis

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("sqlite", "postgres")
# PostgreSQL for the data and for the queue: what it does otherwise than the others is in the queue.
ALONE = "postgres-alone"
SECONDS = 30.0
_USER = "postgres"
_REDIS_DATABASES = 1000


class Missing(Exception):  # noqa: N818 - reads as what is the matter
    """A server cannot be started here."""


def free_port() -> int:
    """Return a port that nobody listens at now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _program(name: str) -> str:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))
    if found is None:
        raise Missing(f"{name} is not installed; `./dev setup` installs it")
    return found


def _account() -> str | None:
    """Return whose the servers are: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam(_USER).pw_name
    except KeyError:
        raise Missing(f"there is no user {_USER}; `./dev setup` installs PostgreSQL, which makes it") from None


@dataclass
class _Program:
    """A server that was started here."""

    command: list[str]
    folder: Path
    account: str | None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self.account, cwd="/"
            )

    def stop(self, number: signal.Signals) -> None:
        """End it: by a signal that lets it tidy up, or by SIGKILL."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(SECONDS)
            self.process = None

    def missing(self) -> Missing:
        """End what does not answer, and return what is to be raised: nobody else would end it."""
        self.stop(signal.SIGKILL)
        return Missing((self.folder / "log").read_text(errors="replace")[-2000:])


class Postgres:
    """A PostgreSQL server of the tests' own."""

    def __init__(self, folder: Path) -> None:
        account = _account()
        self._data = folder / "postgres"
        self._data.mkdir()
        if account:
            shutil.chown(self._data, account)
        initialise = [_program("initdb"), "-D", str(self._data / "data"), "-A", "trust", "-U", "ocore", "--no-sync"]
        done = subprocess.run(initialise, capture_output=True, text=True, user=account, cwd="/", check=False)
        if done.returncode:
            raise Missing(done.stderr)
        self.port = free_port()
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        options |= {"max_connections": 300, "shared_buffers": "32MB"}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self.program = _Program([_program("postgres"), "-D", str(self._data / "data"), *words], folder, account)
        self.start()

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"postgresql://ocore@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.program.start()
        deadline = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
                return
            if time.monotonic() > deadline:
                raise self.program.missing()
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it; open connections are closed."""
        self.program.stop(number)


class Redis:
    """A Redis server of the tests' own, which keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = [_program("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--databases", str(_REDIS_DATABASES)]
        self.program = _Program([*command, "--appendonly", "no", "--dir", str(folder)], folder, None)
        self.start()

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.program.start()
        deadline = time.monotonic() + SECONDS
        with redis.Redis(port=self.port) as client:
            while True:
                with contextlib.suppress(redis.ConnectionError):
                    client.ping()
                    return
                if time.monotonic() > deadline:
                    raise self.program.missing()
                time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it; what it held is gone."""
        self.program.stop(number)


class Servers:
    """The servers of one test process, started when the first test asks for them."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ocore-storages-"))
        self._folder.chmod(0o755)
        self._postgres: Postgres | None = None
        self._redis: Redis | None = None
        self._made = 0

    def __enter__(self) -> Self:
        """Begin to use them."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop those that were started."""
        for server in (self._postgres, self._redis):
            if server is not None:
                server.stop(signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def environment(self, storage: str) -> Iterator[dict[str, str]]:
        """Give the settings, as environment variables, of an empty storage."""
        if storage == "sqlite":
            yield {}
            return
        with self.database() as database:
            yield {"OCORE_DATABASE_URL": database, "OCORE_QUEUE_URL": database if storage == ALONE else self.queue()}

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Give the URL of an empty PostgreSQL database."""
        url = os.environ.get("OCORE_TEST_POSTGRES_URL") or self._started_postgres().url
        self._made += 1
        name = f"ocore_test_{os.getpid()}_{self._made}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        try:
            yield url.rpartition("/")[0] + f"/{name}"
        finally:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # type: ignore[call-overload]

    def queue(self) -> str:
        """Return the URL of an empty Redis database."""
        url = os.environ.get("OCORE_TEST_REDIS_URL")
        if not url:
            # One for each: a worker of an earlier test that is still ending would take a ring of this one.
            self._made += 1
            url = f"{self._started_redis().url.rpartition('/')[0]}/{self._made % _REDIS_DATABASES}"
        with redis.Redis.from_url(url) as client:
            # Also what limits have counted: one test's failures are not another one's.
            client.flushdb()
        return url

    def _started_postgres(self) -> Postgres:
        if self._postgres is None:
            self._postgres = Postgres(self._folder)
        return self._postgres

    def _started_redis(self) -> Redis:
        if self._redis is None:
            self._redis = Redis(self._folder)
        return self._redis
