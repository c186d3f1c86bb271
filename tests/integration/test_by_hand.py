"""The playbooks run by hand: what `ocore inventory` writes and prints is enough for plain `ansible-playbook`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect  # type: ignore[import-untyped]
import pytest

import ocore
from ocore import content
from tests.integration.support import OPTIONAL, OPTIONS, describe, server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts import Host

PLAYBOOK = "playbooks/provision.yml"
STEPS = {"packages", "docker", "runtime", "proxy", "verify"}
# All but Ansible's own folder, which it makes in any mode.
FILES = "find /etc /opt /root/.ssh /srv /usr /var/lib -xdev -newer /run/began -printf '%y %p\\n'"


class Hand:
    """A folder with what `ocore inventory` wrote for a host, and the commands that it printed."""

    def __init__(self, host: Host, folder: Path, home: Path, *, key: bool = True) -> None:
        self.folder = folder
        # Ansible keeps its control sockets under the home, and a socket's path must be short; pytest's folders are not.
        self._home = home
        self._environment = {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        host_key = " ".join(host.read("/etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
        arguments = [host.target, "--directory", str(folder), "--host-key", host_key, "--minimum-disk-gb", "1"]
        arguments += ["--key", str(host.key_file)] if key else []
        command = [sys.executable, "-m", "ocore", "inventory", *arguments, "--json"]
        written = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        self.tagged, self.whole = json.loads(written.stdout.splitlines()[-1])["commands"]

    def files(self) -> list[Path]:
        """Return every file that the commands and Ansible left here."""
        return [path for top in (self.folder, self._home) for path in top.rglob("*") if path.is_file()]

    def checkout(self, *arguments: str) -> str:
        """Run the playbook as a person in the checkout does."""
        return self._run(["ansible-playbook", "-i", str(self.folder / "inventory.yml"), PLAYBOOK, *arguments])

    def printed(self, command: str, *arguments: str) -> str:
        """Run a command as it was printed, from another folder."""
        return self._run([*shlex.split(command), *arguments], cwd=self.folder)

    def _run(self, command: list[str], cwd: Path | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=cwd or content.root(),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "[WARNING]" not in done.stderr, done.stderr
        assert "DEPRECATION" not in done.stderr, done.stderr
        return done.stdout

    def answering(self, command: str, answers: dict[str, str]) -> str:
        """Run a command at a terminal, and answer each of the questions once."""
        with pexpect.spawn(
            command, cwd=str(self.folder), env=self._environment, encoding="utf-8", timeout=60
        ) as terminal:
            for question, answer in answers.items():
                terminal.expect(question)
                terminal.sendline(answer)
            terminal.expect(pexpect.EOF)
            said = str(terminal.before)
        assert terminal.exitstatus == 0, said
        return said


def _recap(output: str) -> dict[str, int]:
    """Return the figures of the recap's one line."""
    return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", output.rpartition("PLAY RECAP")[2])}


def _ran(output: str) -> set[str]:
    """Return the steps of which tasks ran."""
    return {found for found in re.findall(r"^TASK \[(\w+) : ", output, re.MULTILINE) if found in STEPS}


@pytest.fixture(scope="module")
def host(start: Callable[..., Host]) -> Host:
    """Return a host with Docker, whose steps are run by hand from test to test."""
    return start("root-key", docker=True)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Return a person's home."""
    with tempfile.TemporaryDirectory(prefix="ocore-hand-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def hand(host: Host, tmp_path_factory: pytest.TempPathFactory, home: Path) -> Hand:
    """Return what a person needs for that host."""
    return Hand(host, tmp_path_factory.mktemp("hand"), home)


@pytest.fixture(scope="module")
def provisioned(hand: Hand) -> str:
    """Return what Ansible printed when it provisioned that host."""
    return hand.checkout()


def test_the_whole_playbook_provisions(host: Host, hand: Hand, provisioned: str) -> None:
    """`ansible-playbook playbooks/provision.yml` does all; then there is no drift, and a second time nothing runs."""
    assert _ran(provisioned) == STEPS
    assert _recap(provisioned)["failed"] == 0
    assert not ocore.drift(server(host), OPTIONS)

    second = hand.printed(hand.whole)
    assert _ran(second) == set()
    assert _recap(second)["changed"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("provisioned")
def test_one_tag_runs_one_step(host: Host, hand: Hand) -> None:
    """`--tags docker` mends Docker and leaves another step's damage alone; then more tags mend that, and verify."""
    host.exec("echo '{}' > /etc/docker/daemon.json; echo '# mine' >> /etc/ocore/proxy/Caddyfile")
    said = hand.printed(hand.tagged)
    assert _ran(said) == {"docker"}
    assert "+" in said
    assert "max-size" not in host.read("/etc/docker/daemon.json"), "check mode changed something"

    assert _ran(hand.checkout("--tags", "docker")) == {"docker"}
    assert "max-size" in host.read("/etc/docker/daemon.json")
    assert "# mine" in host.read("/etc/ocore/proxy/Caddyfile")

    assert _ran(hand.checkout("--tags", "proxy,verify")) == {"proxy", "verify"}
    assert not ocore.drift(server(host), OPTIONS)


def test_check_mode_shows_the_differences_and_changes_nothing(
    start: Callable[..., Host], tmp_path: Path, home: Path
) -> None:
    """On a bare host `--check --diff` goes through all steps, shows what they would write, and writes nothing."""
    host = start("root-key")
    hand = Hand(host, tmp_path, home)
    host.exec("touch /run/began")
    whole = hand.printed(hand.whole, "--check", "--diff")
    assert _ran(whole) == STEPS
    assert re.search(r'^\+ +"log-driver": "json-file"', whole, re.MULTILINE), whole
    assert "ocore-proxy" in whole
    assert _ran(hand.printed(hand.tagged)) == {"docker"}
    assert host.exec(FILES).stdout.splitlines() == []


def test_a_person_is_asked_for_passwords(start: Callable[..., Host], tmp_path: Path, home: Path) -> None:
    """Without a key the printed commands ask for the login's and for sudo's password, which are in no file."""
    host = start("sudo-password")
    assert host.password is not None
    hand = Hand(host, tmp_path, home, key=False)
    questions = {"SSH password: ": host.password, r"BECOME password\[.*\]: ": host.password}
    said = hand.answering(f"{hand.whole} --tags look", questions)
    assert _recap(said)["failed"] == 0
    assert host.password not in said
    assert not [file for file in hand.files() if host.password in file.read_text("utf-8")]


@pytest.mark.usefixtures("provisioned")
def test_the_engines_own_run_finds_a_hand_made_server_as_it_should_be(host: Host) -> None:
    """What was provisioned by hand is no different for the engine: every step is unchanged."""
    result = ocore.provision(server(host), OPTIONS)
    assert result.ok, describe(result)
    assert {step.step for step in result.steps if step.status == "unchanged"} == STEPS | set(OPTIONAL)
