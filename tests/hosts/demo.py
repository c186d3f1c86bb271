"""The main job, shown: start a Debian 13 host, provision it with the command line, and ask its proxy for a page."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import urllib.request

from tests import hosts
from tests.hosts import state

NAME = "demo"


def _host() -> hosts.Host:
    """Return the demo's host: the one that is there, or a new one."""
    found = {host.name: host for host in hosts.hosts()}
    host = found.get(NAME)
    if host is not None and host.running():
        print(f"Using the host that is there: {host.target}", flush=True)
        return host
    if host is not None:
        host.remove()
    print("Starting a Debian 13 host", flush=True)
    return hosts.up("root-key", name=NAME)


def _state() -> str:
    return str(state.directory("demo"))


def _provision(host: hosts.Host, *arguments: str) -> int:
    command = [sys.executable, "-m", "ocore", "provision", host.target, "--key", str(host.key_file)]
    # The host's key is pinned beside the host: its port may be another machine's tomorrow.
    command += ["--state-dir", _state(), "--allow-loopback", "--proxy", "caddy", *arguments]
    print("\n$ ocore " + " ".join(command[3:]) + "\n", flush=True)
    return subprocess.run(command, check=False).returncode


def _ask(host: hosts.Host) -> None:
    """Ask the host's port 80 for a page, and show which program answered."""
    url = f"http://{host.address}:{host.http_port}/"
    with urllib.request.urlopen(url, timeout=10) as answer:
        program = answer.headers.get("Server")
        print(f"\nGET {url} (the host's port 80): {answer.status}, answered by {program}")
        print(answer.read(500).decode(errors="replace").strip())


def main() -> int:
    """Run the demo; the first argument is when the command began, in seconds since the epoch."""
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("began", type=float, help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="more arguments for `ocore provision`")
    options = parser.parse_args()
    try:
        host = _host()
    except hosts.HostError as error:
        print(error, file=sys.stderr)
        return 3
    code = _provision(host, *options.arguments)
    if code == 0:
        _ask(host)
    print(f"\nThe demo took {(time.time() - options.began) / 60:.1f} minutes.")
    print("Its host stays for you to look at, for example:")
    print(f"  .venv/bin/ocore drift {host.target} --key {host.key_file} --state-dir {_state()} --allow-loopback")
    print(f"`./dev hosts down --name {NAME}` removes it.")
    return code


if __name__ == "__main__":
    sys.exit(main())
