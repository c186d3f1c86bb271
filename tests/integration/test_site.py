"""A site's own step on a real host: the example of the documents, added without a change to ours."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ocore
from tests.integration.support import Watch, describe, options, server, statuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "site"
ID = "site-1"
FILE = "/etc/motd.d/50-managed"
SITE = ocore.Site.load(EXAMPLE)
# Nobody listens there, and the agent runs all the same.
AGENT: dict[str, Any] = {"agent_url": "http://127.0.0.1:9", "agent_interval": 3600}
TOKEN = "oca_" + "x" * 40
WITH = options(site=SITE, proxy="none", **AGENT)
WITHOUT = options(proxy="none", **AGENT)


def _drifted(one: ocore.Server, with_what: ocore.ProvisionOptions = WITH) -> list[str]:
    return [step.step for step in ocore.drift(one, with_what).steps]


def _by_hand(host: Host) -> str:
    """Run the command that `ocore inventory --site` prints."""
    host_key = " ".join(host.read("/etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
    with tempfile.TemporaryDirectory(prefix="ocore-hand-") as home:
        words = ["inventory", host.target, "--directory", f"{home}/by-hand", "--host-key", host_key]
        words += [
            "--key",
            str(host.key_file),
            "--id",
            ID,
            "--minimum-disk-gb",
            "1",
            "--proxy",
            "none",
            "--site",
            str(EXAMPLE),
            "--agent-url",
            AGENT["agent_url"],
            "--agent-interval",
            str(AGENT["agent_interval"]),
        ]
        environment = {"HOME": home, "LANG": "C.UTF-8", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = [sys.executable, "-m", "ocore", *words, "--json"]
        written = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        whole = json.loads(written.stdout.splitlines()[-1])["commands"][1]
        done = subprocess.run(
            shlex.split(whole), env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_site_s_step_is_like_ours(start: Callable[..., Host]) -> None:
    """It is added to a provisioned server, drifts, is repaired alone, by hand as well, and goes with the clean-up.

    The server has an agent, whose token a person who repairs by hand does not know.
    """
    host = start("root-key", docker=True)
    one = server(host, id=ID, agent_token=TOKEN)
    first = ocore.provision(one, WITHOUT)
    assert first.ok, describe(first)
    assert not _drifted(one, WITHOUT)

    # Added: the look finds that it is missing, and only that runs, with verify.
    planned = {step.step: step.run for step in ocore.plan(one, WITH).steps}
    assert [name for name, due in planned.items() if due and name not in {"connect", "privileges", "detect"}] == [
        "preflight", "motd", "verify",
    ]  # fmt: skip
    assert list(planned).index("motd") == list(planned).index("runtime") + 1
    watch = Watch()
    added = ocore.provision(one, WITH, recorder=watch)
    assert added.ok, describe(added)
    found = statuses(added)
    assert (found["docker"], found["runtime"], found["motd"], found["verify"]) == (
        "unchanged", "unchanged", "success", "success",
    )  # fmt: skip
    assert "motd" in watch.started
    assert {event.task for event in watch.events if event.step == "motd"} >= {"Write the message"}
    assert "managed" in host.read(FILE)
    assert host.exec("systemctl is-active ocore-agent", check=False).stdout.strip() == "active"
    assert statuses(ocore.provision(one, WITH))["motd"] == "unchanged"

    # It drifts, and is repaired, by the engine and by hand.
    host.exec(f"echo mine > {FILE}")
    assert _drifted(one) == ["motd", "verify"]
    repaired = ocore.provision(one, WITH, steps=["motd"])
    assert repaired.ok, describe(repaired)
    # The rest was so already, and was verified with it.
    assert _drifted(one) == []
    host.exec(f"rm {FILE}")
    assert "TASK [motd : Write the message]" in _by_hand(host)
    assert not _drifted(one)
    assert statuses(ocore.provision(one, WITH, force=True))["motd"] == "success"

    # What needs it not is left alone; what it needs draws it along.
    host.exec("echo '{}' > /etc/ocore/server.json")
    assert _drifted(one) == ["runtime", "motd", "proxy", "verify"]
    cleaned = ocore.cleanup(one, WITH)
    assert cleaned.ok, describe(cleaned)
    assert host.exec(f"test -e {FILE}", check=False).returncode == 1
