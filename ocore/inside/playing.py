"""Running one playbook over the connection that the login made."""

from __future__ import annotations

import base64
import json
import os
import shlex
import sys
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from ocore import content, runner
from ocore.inside.slim import is_detail, slim

if TYPE_CHECKING:
    from pathlib import Path

    from ocore.inside.channel import Channel
    from ocore.inside.login import Session

# What the login has answered already; a person who runs the playbook has not.
ANSWERED: Final = "connect,privileges"
# Roles that only read, and so leave nothing on the server.
READING: Final = frozenset({"", "detect", "preflight"})
MAX_EVENT: Final = 128 * 1024
# With less, in bytes, Ansible can write neither its own files nor what its events say.
ROOM: Final = 2**20


def _skipped(order: dict[str, Any]) -> str:
    """Return the tags of what needs no look: a task that is skipped by its condition still costs a process."""
    return ANSWERED if order["variables"].get("ocore_bootstrap_python") else f"{ANSWERED},python"


def _flags(work: Path, order: dict[str, Any]) -> list[str]:
    flags = ["-i", str(work / "inventory.yml"), "-e", f"@{work / 'variables.json'}", "--skip-tags", _skipped(order)]
    if order["tags"]:
        flags += ["--tags", ",".join(order["tags"])]
    if order["check"]:
        flags += ["--check", "--diff"]
    return flags


def literal(value: Any) -> Any:
    """Mark every text so that Ansible takes it as it is; extra variables are templates otherwise."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    return [literal(one) for one in value] if isinstance(value, list) else value


def _failed(error: Exception) -> tuple[int, str]:
    """Return how a play ends that could not begin; of the words one line: pexpect's errors go on for a page."""
    return 1, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _is_full(folder: Path) -> bool:
    """Tell whether there is no room left for files here."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize < ROOM


class Player:
    """Ansible, for one play: it begins to load when this is made, so that it is ready when the login is done."""

    def __init__(self, work: Path, run: str, channel: Channel) -> None:
        self._work = work
        # A folder of the run's own: another run that ends must not take it away.
        self._remote = f"~/.ocore/{run}"
        self._channel = channel
        self._ended: Queue[tuple[int | None, str]] = Queue(1)
        self._untidy = False
        orders = work / "orders"
        os.mkfifo(orders)
        # Open for both, so that this side never waits for the other one.
        self._orders = os.open(orders, os.O_RDWR)
        try:
            prepared = self._prepared(orders)
        except OSError as error:
            self._ended.put(_failed(error))
        else:
            Thread(target=self._run, args=prepared, name="player", daemon=True).start()

    def _run(self, folder: Path, environment: dict[str, str]) -> None:
        ended: tuple[int | None, str] = (1, "error")
        try:
            ended = runner.run(folder, environment, self._handle)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run ends with it as a failure that says so
            ended = _failed(error)
        finally:
            self._ended.put(ended)

    def _prepared(self, orders: Path) -> tuple[Path, dict[str, str]]:
        """Make what Ansible runs in; return its folder and its environment.

        Not beside the login: what the login forks in that moment holds the program open for writing until it becomes
        ssh, and until then the kernel starts no such program (ETXTBSY, "Text file busy").
        """
        folder, programs = self._work / "runner", self._work / "programs"
        folder.mkdir()
        programs.mkdir()
        program = programs / "ansible-playbook"
        program.write_text(
            f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m ocore.inside.ready\n", encoding="utf-8"
        )
        program.chmod(0o700)
        return folder, self._environment() | {
            "OCORE_ORDERS": str(orders),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }

    def _environment(self) -> dict[str, str]:
        """Return Ansible's settings: those of `ansible.cfg`, and what only a run knows."""
        return {
            "ANSIBLE_CONFIG": str(content.root() / "ansible.cfg"),
            "ANSIBLE_HOME": str(self._work / "ansible"),
            # The other plugins would only be asked whether the file is theirs.
            "ANSIBLE_INVENTORY_ENABLED": "yaml",
            "ANSIBLE_LOCAL_TEMP": str(self._work / "local"),
            "ANSIBLE_REMOTE_TEMP": self._remote,
            "ANSIBLE_NO_TARGET_SYSLOG": "True",
            # There are no files of variables, and none that happens to lie somewhere is to count.
            "ANSIBLE_VARS_ENABLED": "",
            "MAX_EVENT_RES": str(MAX_EVENT),
        }

    def _handle(self, event: dict[str, Any]) -> None:
        answer = slim(event)
        if answer is not None:
            self._untidy |= str(answer.get("role") or "") not in READING
            self._channel.say(answer, detail=is_detail(answer))

    def _playbook(self, order: dict[str, Any]) -> Path:
        """Return what is to be played: a playbook of ours, or one that came with the order and its roles."""
        if not order.get("files"):
            return content.playbook(order["playbook"])
        folder = self._work / "play"
        for name, data in order["files"].items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(base64.b64decode(data))
        return folder / f"{order['playbook']}.yml"

    def play(self, order: dict[str, Any], session: Session) -> None:
        """Run one playbook; say every event that matters, and at the end how Ansible ended."""
        (self._work / "inventory.yml").write_text(order["inventory"], encoding="utf-8")
        variables = {name: literal(value) for name, value in order["variables"].items()}
        (self._work / "variables.json").write_text(json.dumps(variables), encoding="utf-8")
        told = {
            "arguments": [*_flags(self._work, order), str(self._playbook(order))],
            "environment": {
                "ANSIBLE_SSH_ARGS": " ".join(session.ssh_flags),
                # The login's own connection: one handshake for the whole run, and no other run can use it.
                "ANSIBLE_SSH_CONTROL_PATH": session.control,
            },
        }
        os.write(self._orders, json.dumps(told).encode() + b"\n")
        code, status = self._ended.get()
        if self._untidy:
            session.tidy()
        self._channel.say({"type": "end", "code": code, "status": status, "full": _is_full(self._work)})
