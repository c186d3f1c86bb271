"""`ocore inventory`: the files and the commands for a run of the playbooks by hand."""

from __future__ import annotations

import shlex
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ocore import content
from ocore.cli.options import parse_options
from ocore.errors import ConfigError
from ocore.inventory import write_for_hands

if TYPE_CHECKING:
    from argparse import Namespace

    from ocore.cli.session import Session


@dataclass(frozen=True, slots=True)
class HandRun:
    """What was written, and what to type."""

    files: tuple[Path, ...]
    commands: tuple[str, ...]


def write(session: Session) -> HandRun:
    """Write the inventory and the known_hosts file, and make the commands that use them."""
    arguments = session.arguments
    trust = session.trust()
    if trust.host_key is None:
        raise ConfigError(
            "host_key", "is not known yet; run `ocore validate` first, or give the whole key: --host-key 'TYPE BASE64'"
        )
    server = session.server(trust)
    key_file = Path(arguments.key) if arguments.key else None
    if key_file is not None and not key_file.is_file():
        raise ConfigError("--key", f"there is no file {key_file}")
    try:
        files = write_for_hands(Path(arguments.directory), server, parse_options(arguments), key_file=key_file)
    except OSError as error:
        raise ConfigError("--directory", f"cannot be written to: {error.strerror}") from None
    playbook = files[2] if len(files) > 2 else content.playbook("provision")  # noqa: PLR2004 - see write_for_hands
    return HandRun(tuple(files), _commands(arguments, files[0], playbook, user=server.user))


def _commands(arguments: Namespace, inventory: Path, playbook: Path, *, user: str) -> tuple[str, ...]:
    asking = [] if arguments.key else ["--ask-pass"]
    if user != "root":
        asking.append("--ask-become-pass")
    whole = _command(inventory, playbook, asking)
    return (f"{whole} --tags docker --check --diff", whole)


def _command(inventory: Path, playbook: Path, asking: list[str]) -> str:
    # Named in full: the settings are beside the playbooks, wherever the package is installed.
    settings = shlex.quote(f"ANSIBLE_CONFIG={content.root() / 'ansible.cfg'}")
    words = [_program(), "-i", str(inventory), *asking, str(playbook)]
    return f"env {settings} {shlex.join(words)}"


def _program() -> str:
    beside = Path(sysconfig.get_path("scripts")) / "ansible-playbook"
    return str(beside) if beside.exists() else "ansible-playbook"
