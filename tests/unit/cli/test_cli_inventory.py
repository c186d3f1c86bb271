"""`ocore inventory`: what a person needs to run the playbooks without oCore's engine."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ocore import content
from tests.unit.cli.fakes import KEY, FakeDoor
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.cli.conftest import Ran

    Ocore = Callable[..., Ran]


def written(ocore: Ocore, directory: Path, *words: str) -> Ran:
    """Write an inventory with the key given on the command line."""
    return ocore("inventory", *words, "--host-key", str(KEY), "--directory", str(directory), "--json")


def test_the_files_are_written_and_named(ocore: Ocore, tmp_path: Path, key_file: str) -> None:
    """Inventory and known_hosts are in the folder, and hold no secret."""
    ran = written(ocore, tmp_path / "out", "root@192.0.2.1:2222", "--key", key_file)
    assert ran.code == 0
    files = [Path(name) for name in ran.last["files"]]
    assert {file.parent for file in files} == {tmp_path / "out"}
    text = "".join(file.read_text() for file in files)
    assert "192.0.2.1" in text
    assert KEY.key in text
    assert private_key("ed25519").splitlines()[1] not in text


def test_the_commands_can_be_typed_as_they_are(ocore: Ocore, tmp_path: Path, key_file: str) -> None:
    """They name the settings, the inventory and the playbook in full, wherever oCore is installed."""
    directory = tmp_path / "with a blank"
    ran = written(ocore, directory, "root@192.0.2.1", "--key", key_file)
    one_tag, whole = (shlex.split(command) for command in ran.last["commands"])
    assert one_tag == [*whole, "--tags", "docker", "--check", "--diff"]
    assert whole[:2] == ["env", f"ANSIBLE_CONFIG={content.root() / 'ansible.cfg'}"]
    assert whole[2].endswith("ansible-playbook")
    assert whole[3:] == ["-i", str(directory / "inventory.yml"), str(content.playbook("provision"))]


def test_ansible_asks_for_passwords_itself(ocore: Ocore, tmp_path: Path) -> None:
    """Without a key it asks for the login's, and for another user than root also for sudo's."""
    command = written(ocore, tmp_path, "admin@192.0.2.1").last["commands"][1]
    assert "--ask-pass --ask-become-pass" in command


def test_a_pinned_key_is_used(ocore: Ocore, tmp_path: Path, key_file: str) -> None:
    """After a first run nothing has to be said about the host key."""
    ocore("validate", "h", "--key", key_file, door=FakeDoor())
    ran = ocore("inventory", "h", "--key", key_file, "--directory", str(tmp_path))
    assert ran.code == 0
    assert "Run for example" in ran.out


def test_a_folder_that_cannot_be_written_is_named(ocore: Ocore, tmp_path: Path) -> None:
    """The error says which argument is wrong, and why."""
    (tmp_path / "file").write_text("")
    ran = written(ocore, tmp_path / "file", "h")
    assert ran.code == 2
    assert "--directory: cannot be written to" in ran.err


def test_a_path_with_blanks_and_percent_signs_reaches_ssh_whole(ocore: Ocore, tmp_path: Path) -> None:
    """Ansible splits the arguments for ssh, and ssh splits and expands the file's name: both are foreseen."""
    directory = tmp_path / "100%h and blanks"
    written(ocore, directory, "192.0.2.1")
    line = next(one for one in (directory / "inventory.yml").read_text().splitlines() if "ssh_common_args" in one)
    arguments = shlex.split(json.loads(line.partition(": ")[2]))
    assert arguments[:2] == ["-o", f'UserKnownHostsFile="{directory}/known_hosts"'.replace("%", "%%")]


def test_a_key_that_is_not_there_is_named(ocore: Ocore, tmp_path: Path, key_file: str) -> None:
    """A key file that does not exist is an error here, not one of Ansible's later."""
    ocore("validate", "h", "--key", key_file, door=FakeDoor())
    ran = ocore("inventory", "h", "--key", "/nope", "--directory", str(tmp_path))
    assert ran.code == 2
    assert "/nope" in ran.err
