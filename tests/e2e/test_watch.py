"""A watched server: silence, a changed host key and a moved address are noticed, and no credential goes astray.

The host's own sshd writes down all that it is sent: what did not happen is proven by its record, not by our word.
"""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.doors import Door
from tests.e2e.served import QUIET_SSHD
from tests.integration.apart import seconds_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.e2e.served import Client, Served
    from tests.hosts import Host

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)
RECORD = "/run/sshd-record"
RECORDING = f"""[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=
ExecStart=/usr/sbin/sshd -D -E {RECORD} -o LogLevel=DEBUG3 -o PermitRootLogin=yes
"""
PASSWORD = "a word that must not go astray"
WRONG = "SHA256:" + "A" * 43
# A frozen host is given 10 s to greet, twice.
SILENT = 60.0


@pytest.fixture(scope="module")
def host(start: Callable[..., Host]) -> Host:
    """Return a host whose sshd writes down everything, and takes root's password."""
    host = start("root-key")
    host.exec("chpasswd", stdin=f"root:{PASSWORD}\n")
    host.write("/etc/systemd/system/ssh.service.d/record.conf", RECORDING)
    host.write("/etc/ssh/sshd_config.d/ocore-test-quiet.conf", QUIET_SSHD)
    host.exec("systemctl daemon-reload && systemctl restart ssh")
    host.wait_until_booted()
    return host


@pytest.fixture(scope="module")
def served(serve: Callable[..., AbstractContextManager[Served]]) -> Iterator[Served]:
    """Return a service that looks at each server once a second."""
    with serve(monitor="true", monitor_rate=20) as served:
        served.start("all")
        yield served


@pytest.fixture(scope="module")
def client(served: Served) -> Client:
    """Return a client."""
    return served.client()


@pytest.fixture(scope="module")
def made(client: Client, host: Host) -> str:
    """Return the host as a server that is logged in to by password."""
    found = client.create(host, authMethod="password", sshPassword=PASSWORD, proxyType="none")
    return str(client.until(found["id"], "active", 240)["id"])


@pytest.fixture
def server(client: Client, made: str) -> str:
    """Return the server, which is active."""
    client.until(made, "active", 5)
    return made


def _tried(host: Host) -> set[str]:
    """Return by which ways somebody tried to log in since the record was begun; `none` sends nothing."""
    record = host.read(RECORD)
    assert "SSH2_MSG_KEXINIT received" in record, "the record shows no connection at all"
    return set(re.findall(r"userauth-request for user \S+ service \S+ method (\S+)", record)) - {"none"}


def _begin_record(host: Host) -> None:
    host.exec(f": > {RECORD}; systemctl restart ssh")
    host.wait_until_booted()


def _follow(client: Client, served: Served, server: str, status: str) -> list[tuple[int, str]]:
    """Wait for a status, and return the misses and statuses on the way to it."""
    seen: list[tuple[int, str]] = []

    def look() -> bool:
        [(misses, found)] = served.rows(f"SELECT misses, status FROM server WHERE id = '{server}'")  # noqa: S608
        if not seen or seen[-1] != (misses, found):
            seen.append((misses, found))
        return bool(found == status)

    seconds_until(look, SILENT, f"the server is {status}; {client.get(server)}")
    return seen


def _silent(client: Client, served: Served, server: str, silence: Callable[[], object]) -> None:
    """Silence the host, and see the server become unreachable at the second miss."""
    silence()
    began = time.monotonic()
    seen = _follow(client, served, server, "unreachable")
    log.info("unreachable %.1f s after it fell silent: %s", time.monotonic() - began, seen)
    assert seen[-2:] == [(1, "active"), (2, "unreachable")]
    found = client.get(server)
    assert found["status"] == "unreachable"
    assert found["statusMessage"]


def _back(client: Client, served: Served, server: str) -> None:
    """See the server become active again at the first answer."""
    began, runs = time.monotonic(), len(client.runs(server))
    seen = _follow(client, served, server, "active")
    log.info("active %.1f s after it was back", time.monotonic() - began)
    assert seen[-1] == (0, "active")
    assert client.get(server)["lastSeenAt"]
    assert len(client.runs(server)) == runs, "a run was made, though none was needed"


@pytest.mark.slow
def test_a_frozen_host_is_unreachable_after_two_misses(client: Client, served: Served, host: Host, server: str) -> None:
    """A host that is paused becomes `unreachable` at the second miss; going on, it becomes `active` by itself."""
    try:
        _silent(client, served, server, host.pause)
    finally:
        host.unpause()
    _back(client, served, server)


@pytest.mark.slow
def test_a_host_without_sshd_is_unreachable_after_two_misses(
    client: Client, served: Served, host: Host, server: str
) -> None:
    """So does one whose sshd was stopped."""
    _silent(client, served, server, lambda: host.exec("systemctl stop ssh.socket ssh.service"))
    host.exec("systemctl start ssh")
    _back(client, served, server)


@pytest.mark.promise("F16")
def test_a_changed_key_is_an_error_until_it_is_reset(client: Client, served: Served, host: Host, server: str) -> None:
    """Under an active server: an error with both fingerprints and no login; reset and retried, it is active again."""
    old = host.fingerprint()
    _begin_record(host)
    host.exec(f"rm -f /etc/ssh/ssh_host_*; : > {RECORD}; systemctl restart ssh")
    _follow(client, served, server, "error")
    found = client.get(server)
    assert old in found["statusMessage"]
    assert host.fingerprint() in found["statusMessage"]
    assert found["hostKeyFingerprint"] == old

    # Retry alone never clears the key.
    client.call("POST", f"/servers/{server}/retry")
    assert _last(client, server)["errorCode"] == "host_key_changed"
    assert _tried(host) == set()

    client.call("POST", f"/servers/{server}/reset-host-key")
    client.call("POST", f"/servers/{server}/retry")
    assert _last(client, server)["state"] == "succeeded"
    assert client.until(server, "active", 5)["hostKeyFingerprint"] == host.fingerprint()
    assert _tried(host) == {"password"}, "the record does not even show a login that succeeded"


def _last(client: Client, server: str) -> dict[str, Any]:
    """Return the server's newest run once it has ended."""
    return client.ended(client.runs(server)[0]["id"])


def test_an_expected_key_is_held_to(client: Client, host: Host, server: str) -> None:
    """After a reset with a fingerprint: a host with another one is sent nothing; one with this one is active again."""
    _begin_record(host)
    client.call("POST", f"/servers/{server}/reset-host-key", json={"expectedFingerprint": WRONG})
    client.ask(server)
    assert _last(client, server)["errorCode"] == "host_key_changed"
    found = client.get(server)
    assert found["status"] == "error"
    assert WRONG in found["statusMessage"]
    assert found["hostKeyFingerprint"] is None
    assert _tried(host) == set()

    client.call("POST", f"/servers/{server}/reset-host-key", json={"expectedFingerprint": host.fingerprint()})
    client.call("POST", f"/servers/{server}/retry")
    assert _last(client, server)["state"] == "succeeded"
    assert client.until(server, "active", 5)["hostKeyFingerprint"] == host.fingerprint()


@pytest.mark.promise("A3")
def test_a_password_does_not_follow_to_another_address(client: Client, host: Host, server: str) -> None:
    """PUT of a port without the password: 200, and the run ends before anybody is even connected to."""
    _begin_record(host)
    with Door(host.ssh_port) as door:
        for fields in ({"port": door.port}, {"host": "localhost"}):
            assert client.call("PUT", f"/servers/{server}", json=fields)["status"] == "pending"
            ended = _last(client, server)
            assert (ended["state"], ended["errorCode"]) == ("failed", "secret_required")
            assert client.get(server)["status"] == "error"
        time.sleep(3)  # the monitor would have looked by now
        assert door.visits == 0
        assert not re.search(r"method (?!none)", host.read(RECORD))

        # With the password, and at the address that it was sent for, all is well.
        client.call("PUT", f"/servers/{server}", json={"host": "127.0.0.1", "sshPassword": PASSWORD})
        assert _last(client, server)["state"] == "succeeded"
        assert door.visits > 0
        assert _tried(host) == {"password"}
        client.until(server, "active", 5)
    client.call("PUT", f"/servers/{server}", json={"port": host.ssh_port, "sshPassword": PASSWORD})
    assert _last(client, server)["state"] == "succeeded"
