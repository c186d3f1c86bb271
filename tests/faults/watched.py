"""What runs do on a host, told by the host itself: a step of a site that signs a log for as long as it is at work.

A run that is cut off cannot sign its end; so the log has a line every moment, and two runs that were at work at the
same time show by lines that alternate.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.faults.marked import COOKIES

if TYPE_CHECKING:
    from tests.hosts import Host

SITE: Final = Path(__file__).parent / "site"
STEP: Final = "watched"
_DUE: Final = "/run/ocore-test-due"
_LOG: Final = "/var/log/ocore-test-watched"
_PROGRAM: Final = "/usr/local/sbin/ocore-test-watched"
_TURNS: Final = "/run/ocore-test-turns"
_SOURCE: Final = f"""#!/bin/sh
# Everything is one short write to a file that is only appended to.
say() {{ echo "$1 ${{OCORE_RUN:-nobody}}.$$" >> {_LOG}; }}
say start
turns=$(cat {_TURNS})
while [ $turns -gt 0 ]; do sleep 0.1; say at; turns=$((turns - 1)); done
rm -f {_DUE}
say end
"""


def prepare(host: Host) -> None:
    """Put the program there."""
    host.write(_PROGRAM, _SOURCE, mode="0755")
    host.exec(f"rm -f {_DUE}; : > {_LOG}")


def make_due(host: Host, seconds: float = 1.5) -> None:
    """Let the next run have something to do that takes so long."""
    host.exec(f"echo {round(seconds * 10)} > {_TURNS}; touch {_DUE}")


def lines(host: Host) -> list[tuple[str, str]]:
    """Return the log: what was said, and by whom."""
    return [(word, who) for word, _, who in (line.partition(" ") for line in host.read(_LOG).splitlines())]


def overlaps(found: list[tuple[str, str]]) -> list[str]:
    """Return who went on after another one had begun."""
    blocks = [who for who, _ in itertools.groupby(who for _, who in found)]
    return sorted({who for who in blocks if blocks.count(who) > 1})


def at_work(host: Host) -> list[str]:
    """Return the command lines of what runs have going on there."""
    return host.exec(COOKIES, check=False).stdout.splitlines()
