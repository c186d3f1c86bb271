"""ansible-playbook, loaded before it is known what it is to play: loading takes about as long as logging in.

`playing` puts a program named ansible-playbook that starts this first on ansible-runner's PATH.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

# What every play of ours needs, and Ansible would load one after the other when it comes to it.
MODULES: Final = (
    "ansible.cli.playbook",
    "ansible.executor.playbook_executor",
    "ansible.plugins.action.normal",
    "ansible.plugins.connection.ssh",
    "ansible.plugins.inventory.yaml",
    "ansible.plugins.shell.sh",
    "ansible.plugins.strategy.linear",
)


def _end_as_killed(manager: Any) -> None:
    """Have Ansible end as killed when its process for a task has: by a signal, or by a failure of Ansible's own.

    Such a process may die while it hands over its result, with the lock of the queue; Ansible tidies up through that
    queue before it tells of the failure, and would wait for the lock without an end (2.19 and 2.21 do). If a newer one
    asks no more whether its processes live, `tests/unit/test_ready.py` turns red.
    """
    found_dead = manager.has_dead_workers

    def has_dead_workers(self: Any) -> bool:
        dead: bool = found_dead(self)
        if dead:
            os.kill(os.getpid(), signal.SIGKILL)
        return dead

    manager.has_dead_workers = has_dead_workers


def main() -> NoReturn:
    """Load Ansible, wait for the arguments, and play."""
    # What is loaded stays: looking through it for garbage, here and in each task's process, would only take time.
    gc.disable()
    for name in MODULES:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()
    with Path(os.environ.pop("OCORE_ORDERS")).open(encoding="utf-8") as orders:
        order = json.loads(orders.readline())
    os.environ.update(order["environment"])
    from ansible.cli.playbook import PlaybookCLI  # noqa: PLC0415 - it was loaded above
    from ansible.executor.task_queue_manager import TaskQueueManager  # noqa: PLC0415 - likewise

    _end_as_killed(TaskQueueManager)
    code: object = 0
    try:
        PlaybookCLI.cli_executor(["ansible-playbook", *order["arguments"]])
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing is left to be done: the folder of temporary files goes with the run.
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()
