"""`ocore serve --replay`: a client's whole test without a server, and without a single connection."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

import ocore
from api import commands
from api.commands import replaying
from api.errors import SetupError
from api.parts import RECEIPT, RINGS, Parts, keyring
from api.security.keyring import Ring
from ocore.cli import main
from tests.service.replayed import WATCH, replayed
from tests.service.support import wait_for
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from api.settings import Settings


class Client:
    """Somebody whose program is tested."""

    def __init__(self, http: httpx2.Client, token: str) -> None:
        self._http = http
        http.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, **what: Any) -> httpx2.Response:
        """Make a request."""
        return self._http.request(method, path, **what)

    def create(self, host: str) -> str:
        """Create a server, and return its id."""
        body = {"name": host, "host": host, "sshPrivateKey": private_key("ed25519")}
        answer = self.call("POST", "/api/servers", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def until(self, server: str, status: str) -> dict[str, Any]:
        """Wait until a server has a status."""

        def reached() -> dict[str, Any] | None:
            found: dict[str, Any] = self.call("GET", f"/api/servers/{server}").json()
            return found if found["status"] == status else None

        found: dict[str, Any] = wait_for(reached, f"{server} is {status}")
        return found

    def run(self, server: str, **body: Any) -> dict[str, Any]:
        """Make a run, and wait for its end."""
        made = self.call("POST", f"/api/servers/{server}/runs", json=body).json()

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.call("GET", f"/api/runs/{made['id']}").json()
            return found if found["finishedAt"] else None

        found: dict[str, Any] = wait_for(ended, "the run has ended")
        return found


def test_a_whole_life_without_a_connection(tmp_path: Path) -> None:
    """Created, active, looked at, run again and removed; others fail: nothing was connected to, and nothing started."""
    real = {"OCORE_HOME": str(tmp_path / "real"), "OCORE_DATABASE_URL": "postgresql://nobody@192.0.2.1/nothing"}
    with replayed(tmp_path, **real, OCORE_MONITOR_INTERVAL="1") as served, httpx2.Client(base_url=served.url) as http:
        assert http.get("/health/ready").json()["checks"]["isolation"] == "replayed"
        client = Client(http, served.token())
        good, bad, away = (client.create(host) for host in ("a.example", "docker-too-old.example", "silent.example"))
        found = client.until(good, "active")
        assert (found["osName"], found["capacity"]["maxInstances"] >= 0) == ("Debian GNU/Linux", True)
        assert client.run(good, kind="drift")["message"] == "Nothing drifted."
        assert client.run(good)["state"] == "succeeded"
        logs = client.call("GET", f"/api/servers/{good}/provisioning-logs").json()["logs"]
        assert {one["status"] for one in logs} == {"success", "unchanged"}
        assert "Docker" in client.until(bad, "error")["statusMessage"]
        assert client.until(away, "error")["provisioningStep"] == "connect"
        # The monitor looks every second.
        wait_for(
            lambda: client.until(good, "active")["lastSeenAt"] > found["lastSeenAt"], "the monitor has seen the server"
        )
        client.call("DELETE", f"/api/servers/{good}")
        wait_for(lambda: client.call("GET", f"/api/servers/{good}").status_code == 404, "the server is gone")
        assert served.home.is_dir()
    assert served.seen.read_text() == ""
    assert not served.home.exists()
    assert not (tmp_path / "real").exists()


def test_the_watch_sees_connections_and_programs(tmp_path: Path) -> None:
    """What the test above relies on: who connects or starts something is caught at it."""
    code = "import socket, subprocess; subprocess.run(['true']); socket.socket(type=2).connect(('127.0.0.1', 9))"
    subprocess.run([sys.executable, "-c", WATCH + code, str(tmp_path / "seen")], check=True)
    seen = {line.split()[0] for line in (tmp_path / "seen").read_text().splitlines()}
    assert seen >= {"socket.connect", "subprocess.Popen"}


def _begun(*words: str, look: Callable[[Settings], None] = lambda _: None) -> int:
    """Begin the command in this process, up to where the service would run; return what it would be over."""
    group = argparse.ArgumentParser().add_subparsers()
    commands.add(group)
    arguments = group.choices["serve"].parse_args(["--replay", *words])
    homes: list[Path] = []

    def run(role: str, settings: Settings, transport: Any) -> int:
        assert (role, type(transport)) == ("all", ocore.Replay)
        assert settings.embedded
        homes.append(settings.home)
        look(settings)
        (settings.home / "ocore.db").touch()
        return 0

    replaying.serve(arguments, {}, run)
    [home] = homes
    assert home.exists() == bool(arguments.home)
    return 0


def test_a_real_service_s_data_is_refused(tmp_path: Path) -> None:
    """Its servers would be told to be active, and removed without being cleaned up; what was replayed goes on."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "ocore.db").touch()
    with pytest.raises(SetupError, match="has the data of a real service"):
        _begun("--home", str(tmp_path / "real"))
    for _ in range(2):
        assert _begun("--home", str(tmp_path / "own")) == 0


def test_a_real_service_refuses_what_was_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would connect to servers that never were, with whatever key a test has made up."""
    assert _begun("--home", str(tmp_path)) == 0
    assert main(["serve", "--home", str(tmp_path)]) == 1
    assert "has replayed servers; go on with --replay" in capsys.readouterr().err


def test_what_cannot_be_replayed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without recordings, and a role without the others; the environment's database is not meant."""
    monkeypatch.setenv("OCORE_DATABASE_URL", "postgresql://nobody@192.0.2.1/nothing")
    assert _begun() == 0
    with pytest.raises(SetupError, match=r"replay\.json cannot be read"):
        _begun(str(tmp_path))
    with pytest.raises(SetupError, match="--replay goes with --role all"):
        _begun("--role", "worker")
    assert main(["serve", "--replay", str(tmp_path)]) == 2


def test_no_key_of_a_real_service_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of any ring: receipts of servers that never were are signed with a key of the replay's own."""
    real = {name: Ring.new() for name in RINGS}
    for name, ring in real.items():
        monkeypatch.setenv(f"OCORE_{name.upper()}_KEYS", ring.to_json())
    monkeypatch.setenv("OCORE_RATE_URL", "redis://192.0.2.1:6379/0")

    def look(settings: Settings) -> None:
        parts = Parts.open(settings)
        try:
            assert parts.signer.active != ocore.receipt_public_key(real[RECEIPT].keys[real[RECEIPT].active])
            for name, ring in real.items():
                assert not set(keyring(settings, name).ring().keys) & set(ring.keys), name
            assert settings.rate_url == ""
        finally:
            parts.close()

    assert _begun(look=look) == 0


def test_the_commands_know_every_ring() -> None:
    """They cannot load what names them before the service is installed."""
    assert commands._RINGS == RINGS  # noqa: SLF001 - what the command line offers
