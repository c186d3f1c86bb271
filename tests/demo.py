"""The main job, shown: a Debian 13 host goes through the service's whole API, from its creation to its removal."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import httpx2

from tests import hosts
from tests.hosts import state
from tests.service.storages import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "demo"
SECONDS = 30.0
# What the service puts on a server, and what must be gone with it.
OURS = "ls -d /etc/ocore /opt/ocore /var/lib/ocore /etc/systemd/system/ocore-* 2>/dev/null; docker ps -aq 2>/dev/null"

OTHERS = "nginx:1.29.3"


def say(words: str = "") -> None:
    """Print at once, also into a pipe."""
    print(words, flush=True)  # noqa: T201 - it shows


def _host() -> hosts.Host:
    """Return the demo's host: the one that is there, or a new one."""
    found = {host.name: host for host in hosts.hosts()}
    host = found.get(NAME)
    if host is not None and host.running():
        say(f"Using the host that is there: {host.target}")
        return host
    if host is not None:
        host.remove()
    say("Starting a Debian 13 host")
    return hosts.up("root-key", name=NAME)


def _ocore(home: Path, *words: str) -> str:
    """Run a command of `ocore`, show it, and return what it says."""
    say(f"$ ocore {' '.join(words)}")
    command = [sys.executable, "-m", "ocore", *words, "--home", str(home)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextlib.contextmanager
def _served(home: Path) -> Iterator[str]:
    """Run the service on its embedded default, and give its address."""
    # The host is on this machine, whose loopback a service refuses unless it is told otherwise.
    settings = {"OCORE_ALLOW_LOOPBACK": "true", "OCORE_MINIMUM_DISK_GB": "1", "OCORE_LOG_FORMAT": "json"}
    say("$ ocore serve")
    began, port = time.monotonic(), free_port()
    with (home / "serve.log").open("wb") as log:
        command = [sys.executable, "-m", "ocore", "serve", "--home", str(home), "--port", str(port)]
        serving = subprocess.Popen(command, stderr=log, env=os.environ | settings)
    try:
        at = f"http://127.0.0.1:{port}"
        while _status(f"{at}/health/ready") != 200:
            if serving.poll() is not None or time.monotonic() - began > SECONDS:
                raise hosts.HostError(f"the service did not come up; its log is {home / 'serve.log'}")
            time.sleep(0.05)
        say(f"ready after {time.monotonic() - began:.1f} s at {at}; its log: {home / 'serve.log'}")
        yield at
    finally:
        serving.terminate()
        serving.wait(SECONDS)


def _status(url: str) -> int:
    """Return a request's status; 0 where nobody answers."""
    try:
        return httpx2.get(url, timeout=5).status_code
    except httpx2.TransportError:
        return 0


class Client:
    """Makes requests, and shows them."""

    def __init__(self, at: str, token: str) -> None:
        self._client = httpx2.Client(base_url=at, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def call(self, method: str, path: str, *, shows: bool = True, **what: Any) -> httpx2.Response:
        """Make a request."""
        if shows:
            say(f"\n{method} {path}")
        answer = self._client.request(method, path, **what)
        if shows:
            say(f"{answer.status_code} {json.dumps(answer.json(), indent=2)}")
        return answer

    def follow(self, run: str) -> str:
        """Follow a run, show its steps, and return how it ended."""
        say(f"\nGET /api/runs/{run}/events")
        state_of_run, kind = "", ""
        with self._client.stream("GET", f"/api/runs/{run}/events", timeout=None) as answer:
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data = json.loads(line.removeprefix("data: "))
                    _show(kind, data)
                    state_of_run = data["state"] if kind == "run" else state_of_run
        return state_of_run


def _show(kind: str, data: dict[str, Any]) -> None:
    """Show what happened, if it is of a kind that a person follows."""
    if kind == "hostKey":
        say(f"  host key {data['fingerprint']} ({data['type']})")
    elif kind == "step" and data["status"] == "running":
        say(f"  {data['step']} …")
    elif kind == "step":
        say(f"  {data['step']}: {data['status']}, {data['durationMs'] / 1000:.1f} s. {data['message']}")
    elif kind == "task" and data["kind"] in {"changed", "failed"}:
        say(f"      {data['kind']}: {data['task']} {data['message'][:100]}".rstrip())
    elif kind == "run":
        say(f"  run {data['state']} {data['message']}".rstrip())


def _ask_proxy(host: hosts.Host) -> None:
    """Ask the host's port 80 for a page, and show which program answered."""
    url = f"http://{host.address}:{host.http_port}/"
    with urllib.request.urlopen(url, timeout=10) as answer:
        program = answer.headers.get("Server")
        say(f"\nGET {url} (the host's port 80): {answer.status}, answered by {program}")
        say(answer.read(500).decode(errors="replace").strip())


def _life(client: Client, host: hosts.Host) -> bool:
    """Take the host through the API; return whether all went well."""
    assert host.key_file is not None
    body = {"name": NAME, "host": host.address, "port": host.ssh_port, "sshUser": host.user}
    key = {"sshPrivateKey": host.key_file.read_text(encoding="utf-8")}
    server = client.call("POST", "/api/servers", json=body | key).json()["id"]
    [run] = client.call("GET", f"/api/servers/{server}/runs", shows=False).json()["runs"]
    ended = client.follow(run["id"])
    client.call("GET", f"/api/servers/{server}")
    client.call("GET", f"/api/servers/{server}/capacity")
    client.call("GET", f"/api/servers/{server}/provisioning-logs")
    if ended != "succeeded":
        return False
    _ask_proxy(host)
    # Test hosts bring the images of both proxies, since they reach no registry. To oCore the other one is somebody
    # else's, for whom it would leave Docker there.
    host.exec(f"docker rmi {OTHERS}", check=False)
    client.call("DELETE", f"/api/servers/{server}")
    while client.call("GET", f"/api/servers/{server}", shows=False).status_code == 200:
        time.sleep(0.2)
    client.call("GET", f"/api/servers/{server}")
    left = host.exec(OURS, check=False).stdout.split()
    say(f"\nLeft of it on the host: {', '.join(left) or 'nothing'}")
    return not left


def main() -> int:
    """Run the demo; the first argument is when the command began, in seconds since the epoch."""
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("began", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help="keep the host for a look at it")
    options = parser.parse_args()
    home = state.directory("demo")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, mode=0o700)
    try:
        host = _host()
        with _served(home) as at:
            _ocore(home, "org", "create", NAME)
            well = _life(Client(at, _ocore(home, "token", "issue", "--org", NAME)), host)
    except hosts.HostError as error:
        print(error, file=sys.stderr)  # noqa: T201 - it shows
        return 3
    say(f"\nThe demo took {(time.time() - options.began) / 60:.1f} minutes.")
    if options.keep:
        say(f"Its host stays: ssh -i {host.key_file} -p {host.ssh_port} {host.user}@{host.address}")
        say(f"`./dev hosts down --name {NAME}` removes it.")
    else:
        host.remove()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
