"""Running one playbook over the connection that the login made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from ocore import content, runner
from ocore.inside.slim import is_detail, slim

if TYPE_CHECKING:
    from pathlib import Path

    from ocore.inside.channel import Channel
    from ocore.inside.login import Session

# What the login has answered already; a person who runs the playbook has not.
ANSWERED: Final = "connect,privileges"
MAX_EVENT: Final = 128 * 1024


def _environment(work: Path, session: Session) -> dict[str, str]:
    """Return Ansible's settings: those of `ansible.cfg`, and what only a run knows."""
    return {
        "ANSIBLE_CONFIG": str(content.root() / "ansible.cfg"),
        "ANSIBLE_HOME": str(work / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(work / "local"),
        "ANSIBLE_REMOTE_TEMP": "~/.ocore/tmp",
        "ANSIBLE_SSH_ARGS": " ".join(session.ssh_flags),
        # The login's own connection: one handshake for the whole run, and no other run can use it.
        "ANSIBLE_SSH_CONTROL_PATH": session.control,
        "ANSIBLE_NO_TARGET_SYSLOG": "True",
        "MAX_EVENT_RES": str(MAX_EVENT),
    }


def _flags(work: Path, order: dict[str, Any]) -> str:
    flags = ["-i", str(work / "inventory.yml"), "-e", f"@{work / 'variables.json'}", "--skip-tags", ANSWERED]
    if order["tags"]:
        flags += ["--tags", ",".join(order["tags"])]
    if order["check"]:
        flags += ["--check", "--diff"]
    return " ".join(flags)


def literal(value: Any) -> Any:
    """Mark every text so that Ansible takes it as it is; extra variables are templates otherwise."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    return [literal(one) for one in value] if isinstance(value, list) else value


def play(work: Path, order: dict[str, Any], session: Session, channel: Channel) -> None:
    """Run one playbook; say every event that matters, and at the end how Ansible ended."""
    (work / "inventory.yml").write_text(order["inventory"], encoding="utf-8")
    variables = {name: literal(value) for name, value in order["variables"].items()}
    (work / "variables.json").write_text(json.dumps(variables), encoding="utf-8")
    folder = work / "runner"
    folder.mkdir()

    def handle(event: dict[str, Any]) -> None:
        answer = slim(event)
        if answer is not None:
            channel.say(answer, detail=is_detail(answer))

    playbook = content.playbook(order["playbook"])
    code, status = runner.run(folder, playbook, _flags(work, order), _environment(work, session), handle)
    session.tidy()
    channel.say({"type": "end", "code": code, "status": status})
