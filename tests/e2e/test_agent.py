"""An agent on a real host: it becomes connected, falls silent, comes back, and keeps its token from run to run.

The service listens at the address at which test hosts reach this machine.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosts import engine
from tests.integration.apart import seconds_until
from tests.service.storages import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.e2e.served import Client, Served
    from tests.hosts import Host

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)
INTERVAL = 10
TOKEN = "/etc/ocore/agent/token"
# Prints the ids of processes with the token in their arguments or their environment.
PROCESSES = """
import glob
for name in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
    try:
        with open(name, "rb") as file:
            if b"@TOKEN@" in file.read():
                print(name)
    except OSError:
        pass
"""
# What is ours on a host, and is to be gone when the agent is.
OURS = (
    "find /etc/ocore/agent /usr/local/lib/ocore /etc/systemd/system -name '*agent*' -not -type d; id ocore-agent 2>&1; "
    "pgrep -f ocore_agent.py"
)


def _stands(client: Client, server: str, status: str, seconds: float) -> dict[str, Any]:
    """Wait until a server's agent has a status, and return the server."""
    began = time.monotonic()
    found: dict[str, Any] = {}

    def reached() -> bool:
        found.update(client.get(server))
        return bool(found["agentStatus"] == status)

    seconds_until(reached, seconds, f"the agent is {status}; it is {found}")
    log.info("%s after %.1f s", status, time.monotonic() - began)
    return found


def _steps(client: Client, run: dict[str, Any]) -> dict[str, str]:
    """Return how the steps of a run ended, once it has."""
    ended = client.ended(run["id"], 400)
    assert ended["state"] == "succeeded", ended
    steps = [event.data for event in client.follow(run["id"]) if event.type == "step"]
    return {step["step"]: step["status"] for step in steps if step["status"] != "running"}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_an_agent_lives_with_its_server(
    serve: Callable[..., AbstractContextManager[Served]], start: Callable[..., Host]
) -> None:
    """Connected, stopped and stale, connected again; unchanged by a second run; rotated; removed without a trace."""
    host, port = start(), free_port()
    address = engine.gateway()
    where = {"host": address, "port": port, "agent_url": f"http://{address}:{port}", "agent_interval": INTERVAL}
    with serve(monitor="true", **where) as served:
        served.start("all")
        client = served.client()
        server = client.create(host, proxyType="none")["id"]
        client.until(server, "active", 400)
        found = _stands(client, server, "connected", 4 * INTERVAL)
        assert found["agentVersion"]
        token = host.read(TOKEN)
        _assert_confined(host, served, token)
        _unchanged(client, host, server, token)
        _silent_and_back(client, host, server)
        _told(client, server)
        _rotated(client, host, server, token)
        client.delete(server, 300)
        assert host.exec(OURS, check=False).stdout.split("\n")[0].startswith("id: ")


def _assert_confined(host: Host, served: Served, token: str) -> None:
    """Check that it runs as nobody, and that the token is where it must be and nowhere else."""
    pid = host.exec("systemctl show --property=MainPID --value ocore-agent").stdout.strip()
    status = host.read(f"/proc/{pid}/status")
    assert "\nUid:\t0" not in status
    assert "\nCapEff:\t0000000000000000" in status
    assert "\nNoNewPrivs:\t1" in status
    assert host.exec(f"stat -c '%U %G %a' {TOKEN}").stdout.split() == ["root", "root", "600"]
    look = f"grep -rlsF -e '{token}' /etc /home /opt /root /run /srv /tmp /usr/local /var/lib/ocore /var/log /var/tmp"
    assert host.exec(look, check=False).stdout.split() == [TOKEN]
    # The token goes in by standard input, or those who look would find themselves.
    assert host.exec("python3 -", stdin=PROCESSES.replace("@TOKEN@", token)).stdout.split() == []
    assert token not in host.exec("journalctl --no-pager").stdout
    assert token.encode() not in b"".join(served.answers)
    files = [file for file in served.folder.rglob("*") if file.is_file()]
    assert not [file for file in files if token.encode() in file.read_bytes()]


def _unchanged(client: Client, host: Host, server: str, token: str) -> None:
    """Provision again: the step is unchanged, the token and the process are the same."""
    show = "systemctl show --property=MainPID --value ocore-agent"
    before = host.exec(show).stdout
    steps = _steps(client, client.ask(server))
    assert steps["agent"] == "unchanged"
    assert (host.read(TOKEN), host.exec(show).stdout) == (token, before)
    run = client.ended(client.ask(server, "drift")["id"])
    assert run["message"] == "Nothing drifted."


def _silent_and_back(client: Client, host: Host, server: str) -> None:
    """Stop the agent: it is stale when it was silent for two minutes; started, it is connected at its next word."""
    host.exec("systemctl stop ocore-agent")
    _stands(client, server, "stale", 120 + 3 * INTERVAL)
    assert client.get(server)["status"] == "active"
    host.exec("systemctl start ocore-agent")
    _stands(client, server, "connected", 3 * INTERVAL)


def _told(client: Client, server: str) -> None:
    """See what it told: figures of the host, and Docker's state."""
    found = client.call("GET", f"/servers/{server}/metrics?period=1h")
    log.info("an hour has %d points so far, the last one %s", len(found["points"]), found["points"][-1])
    assert len(found["points"]) >= 2
    latest = client.call("GET", f"/servers/{server}/metrics/latest")
    assert latest["docker"] == "running"
    assert 0 < latest["memoryUsedBytes"] < latest["memoryTotalBytes"]
    assert 0 < latest["diskUsedBytes"] < latest["diskTotalBytes"]


def _rotated(client: Client, host: Host, server: str, token: str) -> None:
    """Rotate the token: the run that follows brings the new one, and the agent is told of with it."""
    run = client.call("POST", f"/servers/{server}/agent-token", 202)
    steps = _steps(client, run)
    assert (steps["agent"], steps["docker"], steps["verify"]) == ("success", "unchanged", "success")
    assert host.read(TOKEN) != token
    seen = client.get(server)["agentLastSeenAt"]
    seconds_until(
        lambda: client.get(server)["agentLastSeenAt"] > seen, 4 * INTERVAL, "it is heard of with the new token"
    )
