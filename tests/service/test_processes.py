"""The service as real processes: how it starts, what it says, how it stops, and several of them together."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from api.parts import RINGS
from tests.service.storages import free_port
from tests.service.support import wait_for
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Iterator

OCORE = [sys.executable, "-m", "ocore"]
SECONDS = 60.0


class Served:
    """A process of `ocore serve`."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Path, port: int) -> None:
        self.process = process
        self.errors = errors
        self.url = f"http://127.0.0.1:{port}"
        self.began = time.monotonic()

    @property
    def said(self) -> str:
        """What it wrote to standard error."""
        return self.errors.read_text(encoding="utf-8", errors="replace")

    def ready(self) -> float:
        """Wait until it is ready, and return how long that took."""

        def asked() -> bool:
            assert self.process.poll() is None, self.said
            try:
                return httpx2.get(f"{self.url}/health/ready", timeout=5).status_code == 200
            except httpx2.TransportError:
                return False

        wait_for(asked, "it is ready", SECONDS)
        return time.monotonic() - self.began

    def works(self) -> None:
        """Wait until its worker has started."""
        wait_for(lambda: "worker started" in self.said, "its worker has started", SECONDS)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Send it a signal; return how it ended, and how long that took."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(SECONDS), time.monotonic() - began


@contextmanager
def serving(variables: dict[str, str], folder: Path, *words: str) -> Iterator[Served]:
    """Have a process of `ocore serve`, which is gone afterwards."""
    port = free_port()
    errors = folder / f"{port}.log"
    with errors.open("wb") as log:
        process = subprocess.Popen(
            [*OCORE, "serve", "--port", str(port), *words], stderr=log, env=os.environ | variables, cwd="/"
        )
    try:
        yield Served(process, errors, port)
    finally:
        process.kill()
        process.wait()


def ocore(variables: dict[str, str], *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Carry out a command."""
    return subprocess.run(
        [*OCORE, *words], input=given, env=os.environ | variables, capture_output=True, text=True, check=False, cwd="/"
    )


def done(variables: dict[str, str], *words: str) -> str:
    """Carry out a command that succeeds, and return what it says."""
    found = ocore(variables, *words)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@pytest.fixture
def variables(environment: dict[str, str], storage: str) -> dict[str, str]:
    """Return the environment of a service, with keys where it makes none by itself."""
    given = environment | {"OCORE_MONITOR": "false", "OCORE_GRACE_SECONDS": "1", "OCORE_SWEEP_SECONDS": "0.5"}
    if storage != "sqlite":
        for ring in RINGS:
            done(given, "keys", "create", ring)
    return given


def test_one_command_is_a_service(variables: dict[str, str], tmp_path: Path) -> None:
    """Ready within seconds; it lives, counts, takes a server, and ends with 0 soon after SIGTERM."""
    with serving(variables, tmp_path) as served:
        print(f"ready after {served.ready():.1f} s")  # noqa: T201 - a figure for the report
        live = httpx2.get(f"{served.url}/health/live")
        assert (live.status_code, live.json()["status"]) == (200, "ok")
        checks = httpx2.get(f"{served.url}/health/ready").json()["checks"]
        assert (checks["database"], checks["queue"]) == ("ok", "ok")
        assert "isolation" in checks
        assert 'ocore_servers{status="active"} 0.0' in httpx2.get(f"{served.url}/metrics").text

        done(variables, "org", "create", "one")
        headers = {"Authorization": f"Bearer {done(variables, 'token', 'issue', '--org', 'one')}"}
        body = {"name": "a", "host": "127.0.0.1", "sshPrivateKey": private_key("ed25519")}
        made = httpx2.post(f"{served.url}/api/servers", json=body, headers=headers)
        assert made.status_code == 201, made.text
        where = f"{served.url}/api/servers/{made.json()['id']}"
        # Our own address is refused, so this needs no host and tells that the worker works.
        wait_for(lambda: httpx2.get(where, headers=headers).json()["status"] == "error", "the worker works")
        code, seconds = served.stop()
        print(f"stopped after {seconds:.1f} s")  # noqa: T201 - a figure for the report
    assert code == 0, served.said
    assert seconds < 10
    assert "worker stopped" in served.said
    assert "Traceback" not in served.said


@pytest.mark.parametrize("storage", ["sqlite"])
def test_the_embedded_default_makes_its_keys_and_says_where(variables: dict[str, str], tmp_path: Path) -> None:
    """For our user only; the address, the folder and the first commands are printed, and these commands work."""
    with serving(variables, tmp_path) as served:
        served.ready()
        home = Path(variables["OCORE_HOME"])
        assert f"Data and keys: {home}" in served.said
        assert f"oCore serves at {served.url}" in served.said
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        for name in ("encryption-keys.json", "token-keys.json", "receipt-keys.json", "ocore.db", "queue.db"):
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name
        commands = re.findall(r"^  (ocore .*|TOKEN=.*|curl .*)$", served.said, re.MULTILINE)
        assert len(commands) == 3
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        found = subprocess.run(
            ["bash", "-ec", "\n".join(commands)], env={"PATH": path}, capture_output=True, text=True, check=False
        )
        assert json.loads(found.stdout.splitlines()[-1]) == {"servers": []}, found.stderr


@pytest.mark.parametrize("storage", ["postgres"])
def test_the_scaled_out_service_makes_no_keys_by_itself(environment: dict[str, str], tmp_path: Path) -> None:
    """Each machine would make its own: it refuses, and says what to do."""
    with serving(environment, tmp_path) as served:
        assert served.process.wait(SECONDS) == 1
    assert "ocore keys create token" in served.said
    assert "Traceback" not in served.said


def test_the_roles_can_be_apart(variables: dict[str, str], tmp_path: Path) -> None:
    """`--role api` takes requests and makes no run; `--role worker` makes it; each ends with 0 on SIGTERM."""
    with serving(variables, tmp_path, "--role", "api") as api:
        api.ready()
        done(variables, "org", "create", "one")
        headers = {"Authorization": f"Bearer {done(variables, 'token', 'issue', '--org', 'one')}"}
        body = {"name": "a", "host": "127.0.0.1", "sshPrivateKey": private_key("ed25519")}
        where = (
            f"{api.url}/api/servers/{httpx2.post(f'{api.url}/api/servers', json=body, headers=headers).json()['id']}"
        )
        time.sleep(1)
        assert httpx2.get(where, headers=headers).json()["status"] == "pending"
        with serving(variables, tmp_path, "--role", "worker") as worker:
            wait_for(
                lambda: httpx2.get(where, headers=headers).json()["status"] == "error", "the worker works", SECONDS
            )
            assert worker.stop()[0] == 0, worker.said
            assert "worker stopped" in worker.said
        code, _ = api.stop(signal.SIGINT)
    assert code == 0, api.said
    assert "worker started" not in api.said


@pytest.mark.promise("F29")
@pytest.mark.parametrize("storage", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def test_four_processes_start_together_on_an_empty_storage(variables: dict[str, str], tmp_path: Path) -> None:
    """The database is migrated once, all come up, and with all of them writing at once nothing is locked or lost."""
    with ExitStack() as stack:
        served = [stack.enter_context(serving(variables, tmp_path)) for _ in range(4)]
        print("ready after " + ", ".join(f"{one.ready():.1f} s" for one in served))  # noqa: T201 - a figure
        for one in served:
            one.works()
        done(variables, "org", "create", "one")
        headers = {"Authorization": f"Bearer {done(variables, 'token', 'issue', '--org', 'one')}"}
        codes: list[int] = []

        def write(url: str, number: int) -> None:
            with httpx2.Client(headers=headers, timeout=60) as client:
                for count in range(10):
                    body: dict[str, Any] = {"name": f"{number}-{count}", "host": f"127.0.{number}.{count}"}
                    body["sshPrivateKey"] = private_key("ed25519")
                    codes.append(client.post(f"{url}/api/servers", json=body).status_code)

        threads = [threading.Thread(target=write, args=(one.url, number)) for number, one in enumerate(served)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert codes == [201] * 40

        def ended() -> bool:
            found = httpx2.get(f"{served[0].url}/api/servers", headers=headers, timeout=30).json()["servers"]
            return len(found) == 40 and {one["status"] for one in found} == {"error"}

        wait_for(ended, "all runs have ended", SECONDS)
        for one in served:
            one.process.send_signal(signal.SIGTERM)
        assert [one.process.wait(SECONDS) for one in served] == [0, 0, 0, 0]
    said = "".join(one.said for one in served)
    for words in ("locked", "Traceback", "does not answer"):
        assert words not in said


@pytest.mark.parametrize("storage", ["sqlite"])
def test_what_cannot_work_is_said_in_words(variables: dict[str, str], tmp_path: Path) -> None:
    """A port that is taken, a setting that is wrong: exit code 1, one sentence, no stack trace."""
    with serving(variables, tmp_path) as served:
        served.ready()
        port = served.url.rpartition(":")[2]
        found = ocore(variables, "serve", "--port", port)
        assert (found.returncode, "Traceback" in found.stderr) == (1, False)
        assert f"port {port} cannot be listened at" in found.stderr
    found = ocore(variables | {"OCORE_WORKERS": "none"}, "serve")
    assert (found.returncode, "Traceback" in found.stderr) == (1, False)
    assert "workers" in found.stderr


@pytest.mark.parametrize("storage", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def test_organizations_and_tokens_are_made_by_commands(variables: dict[str, str], tmp_path: Path) -> None:
    """They can be listed, a token works until it is revoked, and what is wrong is said."""
    made = json.loads(done(variables, "org", "create", "one", "--json"))
    assert done(variables, "org", "list") == f"{made['id']}  one"
    for words, said in {
        ("org", "create", "one"): "already",
        ("org", "create", " "): "1-100 characters",
        ("token", "issue", "--org", "none"): "ocore org create none",
        ("token", "issue", "--org", "one", "--days", "0"): "--days must be from 1",
        ("token", "issue", "--org", "one", "--days", "9999"): "--days must be from 1",
        ("token", "revoke", "x"): "is a UUID",
        ("token", "revoke", "-"): "no token that would be taken",
        ("keys", "create", "token"): "already",
    }.items():
        found = ocore(variables, *words, given="nonsense")
        code = 1 if said in {"already", "ocore org create none"} else 2
        assert (found.returncode, "Traceback" in found.stderr) == (code, False), words
        assert said in found.stderr, words

    issue = ("token", "issue", "--org", "one", "--permission", "view:servers", "--json")
    one, other = (json.loads(done(variables, *issue)) for _ in range(2))
    with serving(variables, tmp_path, "--role", "api") as served:
        served.ready()

        def code(token: str) -> int:
            answer = httpx2.get(f"{served.url}/api/servers", headers={"Authorization": f"Bearer {token}"})
            return answer.status_code

        assert [code(one["token"]), code(other["token"])] == [200, 200]
        done(variables, "token", "revoke", one["id"])
        assert [code(one["token"]), code(other["token"])] == [401, 200]
        [listed] = json.loads(done(variables, "token", "list", "--json"))
        assert listed["id"] == one["id"]
        assert done(variables, "token", "list") == f"{one['id']}  refused until {listed['refusedUntil']}"
        assert ocore(variables, "token", "revoke", "-", given=other["token"]).returncode == 0
        assert code(other["token"]) == 401


@pytest.mark.parametrize("storage", ["sqlite"])
@pytest.mark.parametrize(
    "words",
    [("org", "list"), ("token", "list"), ("token", "issue", "--org", "one"), ("keys", "rotate", "token")],
    ids=" ".join,
)
def test_a_command_without_the_services_folder_makes_no_other_one(
    words: tuple[str, ...], variables: dict[str, str], tmp_path: Path
) -> None:
    """A forgotten `--home` is told, with the folder that was looked at, and nothing is made there."""
    home = tmp_path / "forgotten"
    found = ocore(variables | {"OCORE_HOME": str(home)}, *words)
    assert (found.returncode, found.stdout) == (1, "")
    assert f"no service's data in {home}: name its folder with --home or OCORE_HOME" in found.stderr
    assert not home.exists()
