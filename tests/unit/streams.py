"""Streams of answers as the sandboxed process gives them, written by hand for what no real host does on demand."""

from __future__ import annotations

import json
from typing import Any

import ocore
from ocore.testing import NONCE

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJcIJZqZDJ6zGNfFaUnNJj0Dcvyx0GWIRaAbJQDoyUWj"
PLAYBOOK = "5f0a1c2e-0000-4000-8000-000000000001"
FACTS = {"cpu_cores": 4, "ram_total_bytes": 8 * 2**30, "disk_total_bytes": 2**38, "disk_free_bytes": 140 * 2**30}
STEPS = ("packages", "swap", "security", "docker", "runtime", "proxy", "agent", "verify")


def credentials() -> ocore.Credentials:
    """Return credentials that are never used for anything."""
    return ocore.Credentials(password="not a secret")


def server(**fields: Any) -> ocore.Server:
    """Return a server that nobody connects to."""
    return ocore.Server("192.0.2.7", credentials(), **fields)


def login(**answers: str) -> dict[str, Any]:
    """Return the answer of a login that went well."""
    found = {"uid": "0", "become": "root", "python": "/usr/bin/python3 3.13", "end": "1"} | answers
    return {"type": "login", "code": 0, "answers": found, "stderr": ""}


def event(
    kind: str, task: str = "", role: str | None = None, *, playbook: str = PLAYBOOK, **result: Any
) -> dict[str, Any]:
    """Return one of Ansible's events."""
    return {"type": "event", "event": kind, "playbook_uuid": playbook, "task": task, "role": role, "result": result}


def task(role: str, name: str, *, changed: bool = False, **result: Any) -> list[dict[str, Any]]:
    """Return the events of a task that went well."""
    return [event("playbook_on_task_start", name, role), event("runner_on_ok", name, role, changed=changed, **result)]


def mark(step: str, nonce: str = NONCE) -> dict[str, Any]:
    """Return a step's marker."""
    return event("runner_on_ok", f"Mark {step}", msg=f"{nonce}:{step}")


def look(*due: str) -> dict[str, Any]:
    """Return what the look says, with these steps due."""
    steps = {
        name: {"so": name not in due, "conditions": 3, "reasons": ["x is missing"] if name in due else []}
        for name in STEPS
    }
    return event("runner_on_ok", "Look at what is already so", look=steps, due=list(due))


def begin() -> list[dict[str, Any]]:
    """Return everything up to the end of validation."""
    return [
        login(),
        event("playbook_on_start"),
        *task("detect", "Read the server's facts", facts=FACTS),
        mark("detect"),
        *task("preflight", "Check the server"),
        mark("preflight"),
    ]


def end(code: int | None = 0) -> dict[str, Any]:
    """Return the answer with which a play ends."""
    return {"type": "end", "code": code, "status": "successful" if code == 0 else "failed"}


def lines(*answers: dict[str, Any]) -> list[str]:
    """Return a recording of answers."""
    return [json.dumps(one) for one in ({"host_key": HOST_KEY}, *answers)]
