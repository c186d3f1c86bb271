"""What the playbooks and roles must keep to, and what they make of the words of others."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from ocore.steps import BY_NAME, CHANGING
from tests.unit.test_content_agrees import PLAYBOOKS, ROLES, read, tasks_of


def variables(path: str) -> dict[str, Any]:
    """Return a role's variables, with their templates."""
    found: dict[str, Any] = read(ROLES / path)
    return found


def test_what_was_verified_is_what_all_steps_want() -> None:
    """The digest that `verify` leaves behind covers each step before it, in the registry's order.

    But the agent's, which is not known where its token is not: a run by hand must leave the digest that the service
    looks for. When the agent changes, `verify` runs by what it needs.
    """
    [play] = yaml.safe_load((PLAYBOOKS / "provision.yml").read_text(encoding="utf-8"))
    steps = [step for step in CHANGING if step != "verify"]
    covered = [step for step in steps if step != "agent"]
    assert play["vars"]["verify_wants"] == "{{ " + " + ".join(f"{step}_state" for step in covered) + " }}"
    assert "agent" in BY_NAME["verify"].needs
    assert variables("verify/vars/main/main.yml")["__verify_all_steps"] == steps


def test_that_a_server_was_verified_is_forgotten_before_anything_changes() -> None:
    """The file goes before the first step, whichever is chosen by tag, but not where only a look is taken."""
    names = [task["name"] for task in tasks_of("provision")]
    forgets = tasks_of("provision")[names.index("Forget that the server was verified")]
    assert forgets["ansible.builtin.file"] == {"path": "{{ (verify_state | first).path }}", "state": "absent"}
    assert forgets["when"] == "not ansible_check_mode"
    assert forgets["tags"] == list(CHANGING)
    stops = names.index("Stop here, for everything is already so")
    assert stops < names.index("Forget that the server was verified") < names.index(f"Step {CHANGING[0]}")


def test_remembering_is_the_last_act() -> None:
    """Nothing that could fail comes after it, and the manifest knows of the file first."""
    *_, last = read(ROLES / "verify" / "tasks" / "main.yml")
    assert [next(name for name in task if name.startswith(("ocore_", "ansible."))) for task in last["block"]] == [
        "ocore_manifest",
        "ansible.builtin.copy",
    ]


@pytest.mark.parametrize("role", ["docker", "proxy", "packages", "runtime", "security", "swap", "verify"])
def test_no_role_has_handlers(role: str) -> None:
    """What a handler was to do is lost when a run dies (see docs/adr/0007-no-handlers.md)."""
    assert not (ROLES / role / "handlers").exists()
    assert "notify:" not in "".join(file.read_text(encoding="utf-8") for file in (ROLES / role / "tasks").glob("*.yml"))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("dpkg: error: dpkg frontend lock was locked by apt process with pid 558", "package_lock"),
        ("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 77 (apt-get)", "package_lock"),
        ("E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend)", "package_lock"),
        ("  Temporary failure resolving 'packages.example.org'", "egress_blocked"),
        ("W: Failed to fetch http://a/InRelease  Unable to connect to 127.0.0.1:9:", "egress_blocked"),
        ("E: Unable to locate package python3-apt", "python_missing"),
        ("E: Failed to fetch http://a/b.deb  404  Not Found", "python_missing"),
        ("", "python_missing"),
    ],
)
def test_why_python_cannot_be_installed(words: str, code: str) -> None:
    """By apt's and dpkg's words it is told whether somebody else is at work or no source can be reached."""
    found = variables("detect/vars/main.yml")
    if re.search(found["__detect_lock_words"], words):
        assert code == "package_lock"
    elif re.search(found["__detect_egress_words"], words):
        assert code == "egress_blocked"
    else:
        assert code == "python_missing"


@pytest.mark.parametrize(
    ("words", "reached"),
    [
        ('Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host', False),
        ('Get "https://a/v2/": net/http: request canceled (Client.Timeout exceeded while awaiting headers)', False),
        ('Get "https://a/v2/": net/http: TLS handshake timeout', False),
        ("read tcp 10.0.0.2:1->10.0.0.3:443: read: connection reset by peer", False),
        ("manifest for caddy:0 not found: manifest unknown: manifest unknown", True),
        ("pull access denied for x, repository does not exist or may require 'docker login'", True),
        ("toomanyrequests: You have reached your pull rate limit", True),
        ("failed to register layer: write /bin/caddy: no space left on device", True),
    ],
)
def test_whether_a_registry_was_reached(words: str, reached: bool) -> None:  # noqa: FBT001
    """Only where the registry could not be reached is the way to it said to be closed."""
    pattern = variables("proxy/vars/main/main.yml")["__proxy_unreachable"]
    assert (re.search(pattern, words) is None) == reached
