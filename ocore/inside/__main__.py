"""The process that the library starts: `python -m ocore.inside`."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Final

from ocore.inside import login, playing, supervisor
from ocore.inside.channel import Channel
from ocore.inside.orders import Orders

# For each process: so that all of them together stay below 1 GiB, whatever a host sends.
MEMORY: Final = 768 * 2**20
FILE: Final = 256 * 2**20


def _limit() -> None:
    """Bound what this process and its children may take: a hostile host can send without end."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    os.umask(0o077)


def _obey(orders: Orders, channel: Channel, work: Path) -> None:
    """Carry out the orders, one after the other."""
    session: login.Session | None = None
    player: playing.Player | None = None
    for order in orders:
        if order["op"] == "login":
            askpass = login.write_askpass(work, order)
            if order["plays"]:
                player = playing.Player(work, order["run"], channel)
            session = login.log_in(work, order, askpass, channel)
        elif order["op"] == "play" and session is not None and player is not None:
            player.play(order, session)


def main() -> int:
    """Set limits, make the work folder, and obey until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--supervised", action="store_true")
    parser.add_argument("--leash", type=float)
    arguments = parser.parse_args()
    work = Path(os.environ["OCORE_WORK"])
    if arguments.supervised:
        work = supervisor.watch(work)
        # What programs leave at home goes with the folder, too.
        os.environ["HOME"] = str(work)
    _limit()
    channel = Channel.take_stdout()
    try:
        _obey(Orders(sys.stdin.fileno(), arguments.leash), channel, work)
    except Exception:  # noqa: BLE001 - it is told, and this process ends
        # Before the answers end: who reads them asks at once what the complaint was.
        traceback.print_exc()
        return 1
    finally:
        channel.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
