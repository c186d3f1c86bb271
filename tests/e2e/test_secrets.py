"""Whatever was sent as a secret is in no dump of the database, no queue, no log and no answer; and removed, it is gone.

What is dumped is what a thief of backups would have: the database's own files or dump, all that is in the service's
folder, the queue, and what the processes logged, at the most talkative level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.canaries import Canaries, let_in
from tests.e2e.looking import assert_nowhere, found
from tests.integration.apart import seconds_until
from tests.integration.stoppable import long_task, long_task_began

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.e2e.served import Client, Served
    from tests.hosts import Host

BEGINS = 180.0


@pytest.fixture(scope="module")
def provided(start: Callable[..., Host]) -> Host:
    """Return a host with a user who needs a password for sudo."""
    return start("sudo-password")


def _sealed(served: Served) -> int:
    """Return how many secrets are stored, sealed."""
    [(found,)] = served.rows("SELECT count(sealed_private_key) + count(sealed_password) FROM server")
    return int(found)


# --- what happens -----------------------------------------------------------------------------------------------------


@pytest.mark.promise("A9", "A14")
@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "postgres"])
def test_no_secret_is_kept_in_clear_and_none_stays(
    storage: str, serve: Callable[..., AbstractContextManager[Served]], provided: Host
) -> None:
    """After success, failure and cancel, by key, by password and with sudo's: found nowhere; after DELETE no row is."""
    canaries = Canaries()
    private, public = canaries.key("the key")
    login, sudo = canaries.password("the login password"), canaries.password("the sudo password")
    let_in(provided, public, login, sudo)
    with serve(storage) as served:
        served.start("all")
        client = served.client()
        by_key = {"sshPrivateKey": private, "sshPassword": sudo}
        _refused(client, canaries)
        made = client.call(
            "POST",
            "/servers",
            201,
            headers={"Idempotency-Key": "the-first"},
            json={"name": "one", "host": provided.address, "port": provided.ssh_port, "sshUser": "ops"}
            | {"proxyType": "none"}
            | by_key,
        )
        server = made["id"]
        assert _ended(client, server) == ("succeeded", "")
        assert _sealed(served) == 2
        _failed(client, canaries, server)
        _by_password(client, provided, canaries, server, login)
        assert_nowhere(served, canaries)
        client.call("PUT", f"/servers/{server}", json={"authMethod": "key"} | by_key)
        assert _ended(client, server) == ("succeeded", "")
        # The last, since it leaves the host half done.
        _cancelled(client, provided, server, lambda: assert_nowhere(served, canaries))
        assert _sealed(served) == 2
        client.delete(server)
        assert_nowhere(served, canaries)
        _assert_purged(served)
        _assert_found_where_planted(served, canaries, private, login)


def _ended(client: Client, server: str) -> tuple[str, str]:
    """Wait until the server's newest run has ended; return its state, and the code of its error."""
    run = client.ended(client.runs(server)[0]["id"], 240)
    return run["state"], run["errorCode"]


def _refused(client: Client, canaries: Canaries) -> None:
    """Send secrets in requests that break a rule: what is refused is not repeated."""
    private, _ = canaries.key("a refused key")
    password = canaries.password("a refused password")
    for body in (
        {"name": "x", "host": "192.0.2.1", "authMethod": "password", "sshPrivateKey": private, "sshPassword": password},
        {"name": "x", "host": "192.0.2.1", "sshPrivateKey": private[:-40] + "!", "sshPassword": password},
        {"name": "x", "host": "192.0.2.1", "sshPrivateKey": private, "sshPassword": password + "\n"},
        {"name": "x", "host": "192.0.2.1", "sshPrivateKey": [private], "password": password},
        {"name": "x", "host": "192.0.2.1", "authMethod": password, "sshUser": private},
    ):
        answer = client.call("POST", "/servers", 422, json=body)
        assert not canaries.names_in(repr(answer).encode()), body


def _cancelled(client: Client, host: Host, server: str, meanwhile: Callable[[], None]) -> None:
    """Cancel a run in the middle of a task, having looked while it went on."""
    with long_task(host):
        run = client.ask(server, steps=["packages"])
        seconds_until(lambda: long_task_began(host), BEGINS, f"the long task begins; {client.run(run['id'])}")
        meanwhile()
        client.call("POST", f"/runs/{run['id']}/cancel", 202)
        assert _ended(client, server) == ("cancelled", "cancelled")


def _failed(client: Client, canaries: Canaries, server: str) -> None:
    """Let runs fail with a wrong sudo password and a wrong key."""
    client.call("PUT", f"/servers/{server}", json={"sshPassword": canaries.password("a wrong sudo password")})
    assert _ended(client, server) == ("failed", "sudo_password_required")
    client.call("PUT", f"/servers/{server}", json={"sshPrivateKey": canaries.key("a wrong key")[0]})
    assert _ended(client, server) == ("failed", "auth_denied")


def _by_password(client: Client, host: Host, canaries: Canaries, server: str, login: str) -> None:
    """Log in by password: the right one, which is sudo's as well now, and a wrong one."""
    host.write(f"/etc/sudoers.d/{host.user}", f"{host.user} ALL=(ALL:ALL) ALL\n", mode="0440")
    client.call("PUT", f"/servers/{server}", json={"authMethod": "password", "sshPassword": login})
    assert _ended(client, server) == ("succeeded", "")
    client.call("PUT", f"/servers/{server}", json={"sshPassword": canaries.password("a wrong login password")})
    assert _ended(client, server) == ("failed", "auth_denied")
    host.write(f"/etc/sudoers.d/{host.user}", f"Defaults rootpw\n{host.user} ALL=(ALL:ALL) ALL\n", mode="0440")


def _assert_purged(served: Served) -> None:
    """Check that no table has a row with a sealed secret, nor any row of the server's."""
    for table in ("server", "run", "step_log", "event", "ssh_session"):
        assert served.rows(f"SELECT count(*) FROM {table}") == [(0,)], table  # noqa: S608


def _assert_found_where_planted(served: Served, canaries: Canaries, *secrets: str) -> None:
    """Check the scan itself: what is planted where it looks is found, and nothing else."""
    planted = served.logs / "planted.log"
    planted.write_text(repr(secrets), encoding="utf-8")
    assert sorted(found(served, canaries)) == [f"the key in {planted}", f"the login password in {planted}"]
    planted.unlink()
