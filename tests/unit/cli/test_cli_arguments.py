"""Arguments become the library's values, and what is wrong with them is said without repeating secrets."""

from __future__ import annotations

import dataclasses
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocore.cli import parser
from ocore.cli.exits import MEANINGS
from ocore.options import ProvisionOptions
from ocore.site import Site
from tests.unit.cli.fakes import KEY, FakeDoor

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from tests.unit.cli.conftest import Ran

    Ocore = Callable[..., Ran]

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "site"


def test_a_server_is_made_of_the_arguments(ocore: Ocore, key_file: str) -> None:
    """User, host, port, id and key reach the library."""
    door = FakeDoor()
    assert ocore("validate", "admin@[::1]:2222", "--key", key_file, "--id", "web-1", door=door).code == 0
    server = door.calls[0].server
    assert (server.user, server.host, server.port, server.id) == ("admin", "::1", 2222, "web-1")
    assert server.credentials.private_key


def test_every_option_is_an_argument(ocore: Ocore, key_file: str) -> None:
    """Each field of ProvisionOptions can be given, and what is not given keeps its default."""
    given: dict[str, Any] = {
        "proxy": "nginx",
        "caddy_image": "example.com/caddy:1",
        "nginx_image": "example.com/nginx:1",
        "traefik_image": "example.com/traefik:1",
        "docker_source": "distribution",
        "minimum_memory_mb": 1,
        "minimum_disk_gb": 2,
        "lock_timeout": 3,
        "apt_proxy": "http://192.0.2.1:3142",
        "agent_url": "https://ocore.example.org",
        "agent_interval": 60,
        "swap_mb": 4,
        "security": True,
        "security_ports": "8080,9000",
        "allow_loopback": True,
        "deny_private": True,
        "site": EXAMPLE,
    }
    assert set(given) == {one.name for one in dataclasses.fields(ProvisionOptions)}
    words = []
    for name, value in given.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    door = FakeDoor()
    ocore("provision", "h", "--key", key_file, *words, door=door)
    ocore("provision", "h", "--key", key_file, door=door)
    assert door.calls[0].options == ProvisionOptions(**given | {"site": Site.load(EXAMPLE)})
    assert door.calls[1].options == ProvisionOptions()


def test_cleanup_waits_as_long_as_it_is_told(ocore: Ocore, key_file: str) -> None:
    """Of what a server is to become, only how long to wait for its package manager matters when it is cleaned up."""
    door = FakeDoor()
    assert ocore("cleanup", "h", "--key", key_file, "--lock-timeout", "7", door=door).code == 0
    assert door.calls[0].options == ProvisionOptions(lock_timeout=7)
    assert ocore("cleanup", "h", "--key", key_file, "--proxy", "none", door=door).code != 0


def test_provision_passes_on_what_was_chosen(ocore: Ocore, key_file: str) -> None:
    """Steps, force, check and the time limit reach the library; without them it uses its own defaults."""
    door = FakeDoor()
    chosen = ["--step", "docker", "--step", "proxy", "--force", "--check", "--timeout", "90"]
    ocore("provision", "h", "--key", key_file, *chosen, door=door)
    ocore("provision", "h", "--key", key_file, door=door)
    assert door.calls[0].extra == {"steps": ["docker", "proxy"], "force": True, "check": True, "timeout": 90.0}
    assert door.calls[1].extra == {"steps": [], "force": False, "check": False}


def test_a_host_key_can_be_given_whole_or_by_fingerprint(ocore: Ocore, key_file: str) -> None:
    """A whole key is what the server must show; a fingerprint is what its first key must have."""
    door = FakeDoor()
    for given in (KEY.fingerprint, str(KEY)):
        assert ocore("validate", "h", "--key", key_file, "--host-key", given, door=door).code == 0
    assert door.calls[0].server.expected_fingerprint == KEY.fingerprint
    assert door.calls[0].server.host_key is None
    assert door.calls[1].server.host_key == KEY


WRONG = [
    ([], "COMMAND"),
    (["fly"], "invalid choice"),
    (["provision"], "required"),
    (["provision", "h", "x", "--key", "k"], "too many"),
    (["provision", "h", "--key", "k", "--agent"], "not allowed with"),
    (["provision", "h", "--agent", "--timeout", "0"], "more than 0"),
    (["provision", "h", "--agent", "--timeout", "nan"], "more than 0"),
    (["provision", "h", "--agent", "--step", "connect"], "there is no step 'connect'"),
    (["provision", "h", "--agent", "--proxy", "apache"], "invalid choice"),
    (["provision", "h", "--agent", "--pro", "none"], "there is no --pro"),
    (["provision", "h", "--agent", "--minimum-disk-gb", "x"], "invalid int"),
    (["capacity", "--cores", "0", "--ram-mb", "1", "--disk-gb", "1"], "from 1"),
    (["provision", "127.1", "--agent"], "host: "),
    (["provision", "h"], "give --key FILE, --password-file FILE, --ask-password or --agent"),
    (["provision", "h", "--agent"], "SSH_AUTH_SOCK is not set"),
    (["provision", "h", "--agent", "--apt-proxy", "x"], "apt_proxy: "),
    (["provision", "h", "--agent", "--host-key", "SHA256:x"], "expected_fingerprint: "),
    (["provision", "h", "--key", "/nonexistent"], "cannot be read: No such file"),
    (["provision", "h", "--key", "/"], "cannot be read: Is a directory"),
    (["capacity"], "--cores, --ram-mb and --disk-gb"),
    (["capacity", "--cores", "4"], "--cores, --ram-mb and --disk-gb"),
    (["inventory", "h"], "host_key: is not known yet"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_is_wrong_is_said_and_nothing_is_contacted(ocore: Ocore, words: list[str], said: str) -> None:
    """A usage or configuration error has exit code 2 and says what is wrong, on standard error."""
    door = FakeDoor()
    ran = ocore(*words, door=door)
    assert ran.code == 2
    assert said in ran.err
    assert ran.out == ""
    assert door.calls == []


@pytest.mark.parametrize(
    "words",
    [
        ["--password=hunter2"],
        ["--password", "hunter2"],
        ["--pass=hunter2"],
        ["--sudo-password=hunter2"],
        ["--passphrase", "hunter2"],
        ["--ask-password=hunter2"],
        ["-phunter2"],
    ],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_password_as_an_argument_is_refused_and_not_repeated(
    ocore: Ocore, key_file: str, words: list[str], place: str
) -> None:
    """There is no such argument, and whoever tries does not find the password in a log as well."""
    target = ["root@192.0.2.1", "--key", key_file]
    ran = ocore("provision", *(words + target if place == "before" else target + words))
    assert ran.code == 2
    assert "hunter2" not in ran.err


def test_help_says_what_is_not_supported(ocore: Ocore) -> None:
    """Jump hosts and ssh's configuration are named where people look, and so is every exit code."""
    ran = ocore("--help")
    assert ran.code == 0
    assert "Jump hosts (ProxyJump) are not supported" in ran.out
    assert "~/.ssh/config" in ran.out
    for code, meaning in MEANINGS.items():
        assert f"  {code.value:<5}{meaning}" in ran.out


@pytest.mark.parametrize("command", ["provision", "validate", "plan", "drift", "facts", "capacity", "cleanup", "steps"])
def test_every_command_explains_itself(ocore: Ocore, command: str) -> None:
    """Each command has its own help."""
    ran = ocore(command, "--help")
    assert ran.code == 0
    assert f"usage: ocore {command}" in ran.out


def test_another_package_can_add_its_commands(ocore: Ocore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A callable of the entry point group is given the subparsers, and its command's exit code is the program's."""
    entry = EntryPoint(name="x", group="ocore.commands", value=f"{__name__}:add_greeting")
    monkeypatch.setattr(parser, "entry_points", lambda group: [entry] if group == "ocore.commands" else [])
    ran = ocore("greet", "world")
    assert ran.code == 7
    assert ran.out == "hello world\n"


def add_greeting(subparsers: Any) -> None:
    """Add a command as another package would."""

    def greet(arguments: Namespace) -> int:
        print(f"hello {arguments.whom}")  # noqa: T201 - it is a command's output
        return 7

    greeting = subparsers.add_parser("greet")
    greeting.add_argument("whom")
    greeting.set_defaults(run=greet)
