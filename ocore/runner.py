"""ansible-runner, wrapped: one playbook, its events handed on, and nothing of its own left behind.

The only module that knows ansible_runner. It runs inside the sandbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ansible_runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def run(
    folder: Path, playbook: Path, flags: str, environment: dict[str, str], handle: Callable[[dict[str, Any]], None]
) -> tuple[int, str]:
    """Run one playbook and return Ansible's exit code and ansible-runner's word for it.

    Args:
        folder: an empty folder for ansible-runner's own files.
        playbook: the playbook's path.
        flags: further arguments; no secret may be among them.
        environment: Ansible's settings.
        handle: is called with every event; must neither wait nor raise, or events would be lost.

    """

    def keep_none(event: dict[str, Any]) -> bool:
        handle(event)
        return False  # so that ansible-runner writes no file of the event

    result = ansible_runner.run(
        private_data_dir=str(folder),
        playbook=str(playbook),
        cmdline=flags,
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
    return int(result.rc), str(result.status)
