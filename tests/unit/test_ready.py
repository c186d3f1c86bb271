"""Ansible as a run has it: loaded first, told later what to play."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 60.0
# More than a pipe holds.
RESULT = 3_000_000
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {{ansible_python_interpreter: {python}}}
  tasks:
    - raw: sleep 2; head -c {size} /dev/zero | tr '\\0' x; touch {said}
"""


def _until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    return [int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()]


def _waits(pid: int) -> bool:
    """Tell whether a process has waited for a while, and not for one of its own."""
    for _ in range(4):
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        if state != "S" or _children(pid):
            return False
        time.sleep(0.1)
    return True


@pytest.mark.promise("F3")
def test_a_task_that_is_killed_while_it_hands_over_its_result_ends_the_play(tmp_path: Path) -> None:
    """At once, as a killed Ansible does: it would wait for the lock of its queue without an end."""
    said, orders = tmp_path / "said", tmp_path / "orders"
    os.mkfifo(orders)
    (tmp_path / "play.yml").write_text(PLAY.format(python=sys.executable, size=RESULT, said=said), encoding="utf-8")
    environment = os.environ | {"OCORE_ORDERS": str(orders), "ANSIBLE_HOME": str(tmp_path / "ansible")}
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-P", "-m", "ocore.inside.ready"]
        ansible = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        told = {"arguments": ["-i", "localhost,", str(tmp_path / "play.yml")], "environment": {}}
        orders.write_text(json.dumps(told) + "\n", encoding="utf-8")
        _until(lambda: _children(ansible.pid) or ansible.poll() is not None)
        [task] = _children(ansible.pid)
        # Nobody takes the result, so that the task has begun to hand it over, and cannot end that.
        ansible.send_signal(signal.SIGSTOP)
        _until(lambda: said.exists() and _waits(task))
        os.kill(task, signal.SIGKILL)
        ansible.send_signal(signal.SIGCONT)
        assert ansible.wait(SECONDS) == -signal.SIGKILL, (tmp_path / "log").read_text(encoding="utf-8")
    finally:
        with contextlib.suppress(ProcessLookupError):
            ansible.kill()
        ansible.wait()
