"""Where secrets are looked for: on this machine, and on a test host."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hosts.state import CHECKOUT
from tests.hosts.state import directory as state
from tests.integration import canary
from tests.integration.apart import SHARED_MEMORY

if TYPE_CHECKING:
    from tests.hosts import Host

HERE = ("/tmp", "/var/tmp", "/run")
THERE = (
    "/etc",
    "/home",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/usr/local",
    "/var/lib/ocore",
    "/var/log",
    "/var/tmp",
)


def on_disk(scan: canary.Scan, since: float) -> list[str]:
    """Return the findings in all folders of this machine where something of ours might be."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home()
    roots = {Path(one).resolve() for one in (*HERE, SHARED_MEMORY, home, Path.home(), CHECKOUT, Path.cwd())}
    # Test hosts and their key are notes of the tests themselves.
    skip = (state("hosts"), state("keys"), CHECKOUT / ".git")
    # Once each: a checkout may lie in one of the other folders.
    return sorted(set(scan.files(roots, since, skip)))


def on_server(host: Host, patterns: dict[str, set[bytes]], since: float) -> list[str]:
    """Return the findings in a host's files, processes and journal."""
    order = {
        "patterns": {name: sorted(one.hex() for one in ways) for name, ways in patterns.items()},
        "roots": THERE,
        "since": since,
    }
    host.write("/usr/local/lib/scan.py", Path(canary.__file__).read_text(encoding="utf-8"))
    return host.exec("python3 /usr/local/lib/scan.py", stdin=json.dumps(order) + "\n").stdout.splitlines()
