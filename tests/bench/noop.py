"""What it costs to provision a server that is already as it should be, side by side, on a host of its own.

python -m tests.bench.noop [--rounds N]

Compared, in turn and over again, so that what else the machine does strikes all of them:

* `ocore provision`: looks first, and finds nothing to do;
* `ocore provision --force`: every task of every role looks for itself;
* `ansible-playbook` with the same roles, facts gathered, and Ansible's own default settings;
* `ssh HOST true`: what no program that goes through ssh can be faster than.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

import ocore
from ocore import content
from ocore.intake.hostkeys import HostKey
from ocore.inventory import write_for_hands
from ocore.steps import STEPS
from tests import hosts
from tests.integration.support import OPTIONS, server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host

NOOP: Final = "ocore provision"
FORCED: Final = "ocore provision --force"
PLAIN: Final = "ansible-playbook, defaults"
SSH: Final = "ssh HOST true"
AIM: Final = 12

# Nothing but where our files are.
SETTINGS: Final = """[defaults]
roles_path = {root}/roles
library = {root}/playbooks/library
module_utils = {root}/playbooks/module_utils
"""


def _plain_play() -> dict[str, Any]:
    """Return the play of `provision.yml` with the same roles and variables, but without looking first."""
    (play,) = yaml.safe_load(content.playbook("provision").read_text(encoding="utf-8"))
    given = {task["name"]: task.get("vars", {}) for task in play["tasks"]}
    roles = []
    for step in STEPS:
        variables = given[f"Step {step.name}"]
        # What is chosen by the look is everything here, which is each role's default.
        kept = {name: value for name, value in variables.items() if "ocore_look" not in str(value)}
        roles.append({"role": step.name, "vars": kept})
    variables = {name: value for name, value in play["vars"].items() if "ocore_look" not in str(value)}
    return {"name": "Plain", "hosts": "all", "gather_facts": True, "vars": variables, "roles": roles}


class Bench:
    """A provisioned host, and the ways to go over it again."""

    def __init__(self, host: Host, folder: Path) -> None:
        self._host = host
        self._folder = folder
        self._environment = {
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(content.root()),
        }
        key = HostKey.parse(host.read("/etc/ssh/ssh_host_ed25519_key.pub"))
        _, self._known_hosts = write_for_hands(folder, server(host, host_key=key), OPTIONS, key_file=host.key_file)
        self._pin = str(key)
        (folder / "bench.yml").write_text(json.dumps([_plain_play()]))
        (folder / "bench.cfg").write_text(SETTINGS.format(root=content.root()))

    def _run(self, command: list[str], **environment: str) -> tuple[float, str]:
        began = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.perf_counter() - began
        if done.returncode != 0:
            raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return took, done.stdout

    def _ocore(self, *arguments: str) -> tuple[float, set[str]]:
        """Provision with the command line; return the time and the steps whose tasks ran."""
        command = [sys.executable, "-m", "ocore", "provision", self._host.target, "--key", str(self._host.key_file)]
        command += ["--host-key", self._pin, "--allow-loopback", "--minimum-disk-gb", "1", "--json", *arguments]
        took, said = self._run(command)
        result = json.loads(said.splitlines()[-1])
        changing = {step.name for step in STEPS if not step.validates}
        return took, {one["step"] for one in result["steps"] if one["status"] == "success"} & changing

    def noop(self) -> float:
        """Provision; nothing is to be done."""
        took, ran = self._ocore()
        assert not ran, ran
        return took

    def forced(self) -> float:
        """Provision, and let every role run."""
        took, ran = self._ocore("--force")
        assert len(ran) == sum(not step.validates for step in STEPS), ran
        return took

    def plain(self) -> float:
        """Run the roles as Ansible runs roles."""
        command = ["ansible-playbook", "-i", str(self._folder / "inventory.yml"), str(self._folder / "bench.yml")]
        took, said = self._run(command, ANSIBLE_CONFIG=str(self._folder / "bench.cfg"))
        assert re.search(r" changed=0 .* failed=0 ", said), said
        return took

    def ssh(self) -> float:
        """Log in, and do nothing."""
        command = ["ssh", "-F", "none", "-i", str(self._host.key_file), "-o", "IdentitiesOnly=yes"]
        command += ["-o", f"UserKnownHostsFile={self._known_hosts}", "-o", "HostKeyAlias=ocore-server"]
        command += ["-p", str(self._host.ssh_port), f"{self._host.user}@{self._host.address}", "true"]
        return self._run(command)[0]


def _measure(bench: Bench, rounds: int) -> dict[str, list[float]]:
    ways: dict[str, Callable[[], float]] = {
        NOOP: bench.noop,
        FORCED: bench.forced,
        PLAIN: bench.plain,
        SSH: bench.ssh,
    }
    for way in ways.values():
        way()  # the first time, everybody's files have to be read from the disk
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            times[name].append(way())
        print(f"round {number + 1} of {rounds}: load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return times


def _print(times: dict[str, list[float]]) -> float:
    """Print the table, and return by how much looking first is faster than the plain way."""
    medians = {name: statistics.median(found) for name, found in times.items()}
    rounds = len(times[NOOP])
    print(f"Python {platform.python_version()}, ansible-core {version('ansible-core')}, {os.cpu_count()} cores\n")
    print(f"| | median of {rounds}, s | least-most, s | to the plain one | to ssh |\n|---|---|---|---|---|")
    for name, found in times.items():
        to_plain, to_ssh = medians[PLAIN] / medians[name], medians[name] / medians[SSH]
        spread = f"{min(found):.2f}-{max(found):.2f}"
        print(f"| `{name}` | {medians[name]:.2f} | {spread} | 1/{to_plain:.1f} | {to_ssh:.1f} |")
    return medians[PLAIN] / medians[NOOP]


def main() -> int:
    """Start a host, provision it, measure, and remove the host."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.noop", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    host = hosts.up("root-key", docker=True)
    try:
        ocore.provision(server(host), OPTIONS).raise_for_status()
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            ratio = _print(_measure(Bench(host, Path(folder)), rounds))
    finally:
        host.remove()
    print(f"\nLooking first is {ratio:.1f} times as fast as the plain way (aim: {AIM}).")
    return 0 if ratio >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
