#!/usr/bin/python3
"""Tells oCore how this server is doing: now and then one request goes out, and nothing comes in.

It needs nothing but Python 3.9. Its one argument is a file with the address to post to and the interval in seconds; the
token comes from standard input. It has no rights on the server: it reads what every user may read.
Of what it is answered it looks at nothing but the status, and whatever it is answered, it goes on.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import ssl
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

VERSION = "1.0.0"
# For one read or write; and for the whole of a heartbeat, for one who answers a byte at a time.
SILENCE_SECONDS = 10.0
HEARTBEAT_SECONDS = 20.0
MOST_ANSWER = 4096
MOST_WORDS = 200
# After failures the pauses grow, up to this: a service that comes back shall not meet all servers at once.
MOST_PAUSE = 300.0
SPREAD = (0.9, 1.1)

MEMORY = Path("/proc/meminfo")
DOCKER_DATA = Path("/var/lib/docker")
DOCKER_SOCKET = Path("/var/run/docker.sock")
DOCKER_PID = Path("/var/run/docker.pid")

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")


class Settings:
    """Where to post, with which token, and how often. Nothing in here is ever printed."""

    def __init__(self, url: str, interval: float, token: str) -> None:
        """Check what was read; what cannot be sent ends the program with words that do not repeat it."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            sys.exit("the address to post to is no http or https address")
        if not _TOKEN.fullmatch(token):
            sys.exit("there is no usable token")
        self.secure = parts.scheme == "https"
        # Without a port, http.client would take the end of an IPv6 address for one.
        self.port = parts.port or (443 if self.secure else 80)
        self.host, self.path = parts.hostname, parts.path or "/"
        self.interval, self.token = interval, token


def read_settings(file: str) -> Settings:
    """Return the settings, from their file and from standard input, which leads nowhere after that."""
    told = json.loads(Path(file).read_text(encoding="utf-8"))
    token = sys.stdin.read(MOST_ANSWER).strip()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    return Settings(str(told["url"]), float(told["interval"]), token)


# --- what is told -----------------------------------------------------------------------------------------------------


def memory() -> tuple[int, int]:
    """Return the size of the memory, and how much of it could be had, in bytes."""
    lines = (line.partition(":") for line in MEMORY.read_text(encoding="ascii").splitlines())
    found = {name: rest.split()[0] for name, _, rest in lines}
    return int(found["MemTotal"]) * 1024, int(found["MemAvailable"]) * 1024


def disk() -> tuple[int, int]:
    """Return the size of the file system that holds Docker's data, and what is free there, in bytes."""
    found = os.statvfs(str(DOCKER_DATA if DOCKER_DATA.is_dir() else "/"))
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def docker() -> str:
    """Return whether Docker runs: running, stopped, or absent.

    It is not asked: whoever may talk to Docker is root, and this program must not be. That its process is there, by
    the number that it has written down itself, is what every user may know.
    """
    try:
        number = int(DOCKER_PID.read_text(encoding="ascii"))
        os.kill(number, 0)  # nothing is sent: it is only looked whether there is one
    except PermissionError:
        return "running"  # there is one, and it is not ours
    except (OSError, ValueError, OverflowError):
        return "stopped" if DOCKER_DATA.is_dir() or DOCKER_SOCKET.exists() else "absent"
    return "running"


def reading() -> dict[str, Any]:
    """Return what is told."""
    total, available = memory()
    size, free = disk()
    return {
        "version": VERSION,
        "load": os.getloadavg()[0],
        "memoryTotalBytes": total,
        "memoryAvailableBytes": available,
        "diskTotalBytes": size,
        "diskFreeBytes": free,
        "docker": docker(),
        "uptimeSeconds": int(time.clock_gettime(time.CLOCK_BOOTTIME)),
    }


# --- telling it -------------------------------------------------------------------------------------------------------


def post(settings: Settings) -> int:
    """Send one heartbeat, and return the answer's status. No redirect is followed: the token goes nowhere else."""
    connection: http.client.HTTPConnection
    if settings.secure:
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(settings.host, settings.port, timeout=SILENCE_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(settings.host, settings.port, timeout=SILENCE_SECONDS)
    headers = {"Authorization": "Bearer " + settings.token, "Content-Type": "application/json"}
    try:
        connection.request("POST", settings.path, json.dumps(reading()), headers)
        answer = connection.getresponse()
        answer.read(MOST_ANSWER)
        return answer.status
    finally:
        connection.close()


def _too_long(*_: object) -> None:
    raise TimeoutError(f"no answer within {HEARTBEAT_SECONDS:.0f} s")


def beat(settings: Settings) -> tuple[bool, str]:
    """Send one heartbeat within its time; return whether it was taken, and what happened, in words."""
    signal.setitimer(signal.ITIMER_REAL, HEARTBEAT_SECONDS)
    try:
        status = post(settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, the next heartbeat may do better
        words = "".join(one if one.isprintable() else "?" for one in str(error))
        words = words.replace(settings.token, "[hidden]")[:MOST_WORDS]
        return False, f"{type(error).__name__}: {words}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 200 <= status < 300, f"HTTP {status}"  # noqa: PLR2004 - HTTP's own numbers


def pause(interval: float, failures: int) -> float:
    """Return how long to wait: longer after each failure, and never just as long as the other servers."""
    grown = interval * 2 ** min(failures, 10)
    return min(grown, max(interval, MOST_PAUSE)) * random.uniform(*SPREAD)  # noqa: S311 - no secret


def main() -> None:
    """Post for ever; say something only when something changes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGALRM, _too_long)
    settings = read_settings(sys.argv[1])
    failures, before = 0, ""
    while True:
        taken, said = beat(settings)
        failures = 0 if taken else failures + 1
        if said != before:
            print(f"heartbeat: {said}", flush=True)
            before = said
        time.sleep(pause(settings.interval, failures))


if __name__ == "__main__":
    main()
