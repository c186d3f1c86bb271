"""The orders that a run's process takes, and its end where nobody gives any more."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "import sys; from ocore.inside.orders import Orders; [print(one) for one in Orders(0, {leash})]"
LEASH = 1.5


@contextmanager
def obeying(leash: float | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start a process that prints its orders."""
    command = [sys.executable, "-u", "-c", PROGRAM.format(leash=leash)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            process.kill()


def test_orders_come_whole_and_in_order() -> None:
    """However they are cut, and with empty lines between them; it ends when no more can come."""
    with obeying() as process:
        assert process.stdin is not None
        for part in ('{"op": ', "1}\n\n", '\n{"op": 2}\n{"op"', ": 3}\n"):
            process.stdin.write(part)
            process.stdin.flush()
            time.sleep(0.1)
        said, complaint = process.communicate(timeout=30)
        assert said.splitlines() == ["{'op': 1}", "{'op': 2}", "{'op': 3}"]
        assert (process.returncode, complaint) == (0, "")


def test_a_process_that_hears_nothing_any_more_ends() -> None:
    """Each line counts, also an empty one; after them, silence ends it, though its orders could still come."""
    with obeying(LEASH) as process:
        assert process.stdin is not None
        for _ in range(10):
            time.sleep(LEASH / 5)
            process.stdin.write("\n")
        assert process.poll() is None
        assert process.wait(30) == 3
        assert process.stderr is not None
        assert process.stderr.read() == "Nothing was heard of the program that made this run for 1.5 s.\n"
