"""By which ports a server's SSH is reached: sshd's own configuration, and the connection by which we are here."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Dict, List, Optional

from ansible.module_utils.ocore_commands import output
from ansible.module_utils.ocore_text import read_text

PROC = "/proc"
SSHD = "/usr/sbin/sshd"
MAX_DEPTH = 32
MAX_PORT = 65535
_PORT = re.compile(r"^(?:port (\d+)|listenaddress \S+:(\d+))$", re.MULTILINE)
_PARENT = re.compile(r"^PPid:\s+(\d+)$", re.MULTILINE)
_CONNECTION = re.compile(r"(?:^|\0)SSH_CONNECTION=\S+ \d+ \S+ (\d+)(?:\0|$)")


def parse_ports(text: str) -> List[int]:
    """Return the ports of what `sshd -T` prints."""
    found = {int(one or other) for one, other in _PORT.findall(text)}
    return sorted(port for port in found if 0 < port <= MAX_PORT)


def connection_port(pid: int, proc: str = PROC) -> Optional[int]:
    """Return the port of the connection to which a process belongs, as sshd has told its shell; None where it has not.

    The processes above are asked, too: sudo keeps it from what it runs.
    """
    for _ in range(MAX_DEPTH):
        folder = Path(proc, str(pid))
        found = _CONNECTION.search(read_text(str(folder / "environ")))
        if found:
            return int(found.group(1))
        parent = _PARENT.search(read_text(str(folder / "status")))
        if parent is None or int(parent.group(1)) == 0:
            return None
        pid = int(parent.group(1))
    return None


def ssh_facts() -> Dict[str, Any]:
    """Return the ports of sshd's effective configuration, and the one by which we are connected."""
    return {"ssh_ports": parse_ports(output([SSHD, "-T"])), "ssh_connection_port": connection_port(os.getpid())}
