"""ansible-runner, wrapped: one playbook, its events handed on, and nothing of its own left behind.

The only module that knows ansible_runner. It runs inside the sandbox.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ansible_runner.interface import init_runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NAME: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _refuse_odd_names(runner: Any) -> None:
    """Pass over events with a name that is no UUID.

    ansible-runner reads, and then removes, a file whose path it makes of an event's name; a host can print an event.
    """
    take = runner.event_callback

    def take_named(event: dict[str, Any]) -> None:
        name = event.get("uuid")
        if name is None or (isinstance(name, str) and _NAME.fullmatch(name)):
            take(event)

    runner.event_callback = take_named


def run(folder: Path, environment: dict[str, str], handle: Callable[[dict[str, Any]], None]) -> tuple[int | None, str]:
    """Run one playbook and return Ansible's exit code, None where it was killed, and ansible-runner's word for it.

    Which playbook, and how, the program `ansible-playbook` that is first on the environment's PATH is told by others
    (see `ocore/inside/ready.py`).

    Args:
        folder: an empty folder for ansible-runner's own files.
        environment: Ansible's settings, and PATH.
        handle: is called with every event; must neither wait nor raise, or events would be lost.

    """

    def keep_none(event: dict[str, Any]) -> bool:
        handle(event)
        return False  # so that ansible-runner writes no file of the event

    runner = init_runner(
        private_data_dir=str(folder),
        playbook="told-later.yml",
        # ansible-runner switches host key checking off unless told otherwise.
        envvars=environment | {"ANSIBLE_HOST_KEY_CHECKING": "True"},
        event_handler=keep_none,
        # Without one ansible-runner takes over this process's signal handlers.
        cancel_callback=lambda: False,
        fact_cache_type="",
        quiet=True,
        suppress_env_files=True,
        settings={"pexpect_timeout": 1},
    )
    _refuse_odd_names(runner)
    runner.run()
    return None if runner.rc is None else int(runner.rc), str(runner.status)
