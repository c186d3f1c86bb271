"""Hosts that lie: their Python is ours to tell how (`hostile_python.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.hosts import Host

PYTHON = Path(__file__).parent / "hostile_python.py"


def teach(host: Host) -> None:
    """Give a host a Python that is ours; it tells the truth until it is told otherwise."""
    host.exec(
        "mkdir -p /etc/hostile /usr/lib/hostile && ln -s $(readlink -f /usr/bin/python3) /usr/lib/hostile/python3"
    )
    host.exec("rm /usr/bin/python3")
    host.write("/etc/hostile/way", "none none\n")
    host.write("/etc/hostile/megabytes", "60\n")
    host.write("/etc/hostile/steal", "/nowhere\n")
    host.write("/usr/bin/python3", f"#!/usr/lib/hostile/python3\n{PYTHON.read_text(encoding='utf-8')}", mode="0755")


def lie(host: Host, way: str, about: str = "ansible_facts") -> None:
    """Make the host's answers hostile where they hold a key."""
    host.write("/etc/hostile/way", f"{about} {way}\n")
    host.exec(": > /var/log/hostile")


def tell_the_truth(host: Host) -> None:
    """Let the host's answers be as they are."""
    lie(host, "none", "none")


def say(host: Host, texts: Sequence[str]) -> None:
    """Give the host the texts that it puts into its answers by the way `corpus`."""
    host.write("/etc/hostile/corpus", json.dumps(list(texts)))
    host.exec("rm -f /etc/hostile/said")


def said(host: Host) -> int:
    """Return how many of them it has said."""
    return int(host.exec("cat /etc/hostile/said || echo 0", check=False).stdout)
