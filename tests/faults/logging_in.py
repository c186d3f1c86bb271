"""A program that begins runs as the library does: each order on a line of standard input is a login, in a sandbox each.

It is started by path, by the Python whose environment the sandbox is to show; it ends them all when its input ends.
"""

from __future__ import annotations

import json
import sys
import threading
import uuid
from typing import Any

import ocore
from ocore.intake.hostkeys import HostKey
from ocore.runs.login import login_order
from ocore.transport import SandboxedProcess


def main() -> None:
    """Log in for each order, and say a line when its process has answered or ended."""
    started = []
    for line in sys.stdin:
        order = json.loads(line)
        server = ocore.Server("127.0.0.1", ocore.Credentials(private_key=order["key"]), user="root", port=order["port"])
        process = SandboxedProcess(None)
        started.append(process)
        key, run = HostKey.parse(order["host_key"]), uuid.uuid4().hex
        process.order(login_order(server, "127.0.0.1", key, run, drain="none", plays=False))
        threading.Thread(target=_tell, args=(process,), daemon=True).start()
    for process in started:
        process.end()


def _tell(process: SandboxedProcess) -> None:
    for answer in process.answers():
        if answer is not None:
            _say(isolation=process.isolation, **answer)
    _say(type="ended", complaint=process.complaint())


def _say(**words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
