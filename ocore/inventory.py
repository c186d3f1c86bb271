"""Inventories: what Ansible is told of one server. Every text is written so that Ansible takes it literally.

Ansible trusts what stands in an inventory as templates: `{{ lookup('pipe', …) }}` in a field would run on this machine.
"""

from __future__ import annotations

import json
import shlex
import shutil
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ocore import content, siteplay
from ocore.ssh import options as ssh_options

if TYPE_CHECKING:
    from pathlib import Path

    from ocore.models import Server
    from ocore.options import ProvisionOptions

_BASIC: Final = 0xFFFF


def _escaped(text: str) -> str:
    """Return the inside of a double-quoted YAML text, in ASCII; JSON's escapes end at the basic plane."""
    spelled = (json.dumps(one)[1:-1] if ord(one) <= _BASIC else f"\\U{ord(one):08x}" for one in text)
    return "".join(spelled).replace("\x7f", "\\x7f")


def literal(value: Any) -> str:
    """Spell a value so that neither YAML nor Ansible reads anything into it."""
    if isinstance(value, str):
        return f'"{_escaped(value)}"'
    if isinstance(value, bool | int) or value is None:
        return json.dumps(value)
    raise TypeError(f"an inventory holds texts, whole numbers and booleans, not {type(value).__name__}")


def _environment() -> Environment:
    return Environment(
        autoescape=False,  # noqa: S701 - `finalize` spells every value, in YAML rather than HTML
        finalize=literal,
        keep_trailing_newline=True,
        loader=FileSystemLoader(content.root() / "inventory_templates"),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )


def render(variables: dict[str, Any]) -> str:
    """Return an inventory with one host and these variables."""
    return _environment().get_template("server.yml.j2").render(variables=variables)


def connection(server: Server, address: str, *, interpreter: str, become: bool) -> dict[str, Any]:
    """Return how the engine's Ansible reaches the server: by the address that was checked, never by name again.

    The login password is not among it: the connection is open already. Ansible would keep one in shared memory, where
    it stays when a run without namespaces is killed.
    """
    variables: dict[str, Any] = {
        "ansible_become": become,
        "ansible_connection": "ssh",
        "ansible_host": address,
        "ansible_port": server.port,
        "ansible_python_interpreter": interpreter,
        "ansible_user": server.user,
    }
    if become and server.credentials.becoming is not None:
        variables["ansible_become_password"] = server.credentials.becoming
    return variables


def variables(server: Server, options: ProvisionOptions) -> dict[str, Any]:
    """Return the role variables for a server."""
    return options.variables() | {"runtime_server_id": server.id}


def secrets(server: Server) -> dict[str, Any]:
    """Return the role variables that are secrets: they go through the engine's pipe, and into no file for hands."""
    return {"agent_token": server.agent_token} if server.agent_token else {}


def _trusting(known_hosts: Path | str) -> str:
    """Return the option that names the file, quoted twice: Ansible splits these words, and ssh splits the value."""
    value = str(known_hosts).replace("%", "%%")
    return shlex.quote(f'UserKnownHostsFile="{value}"')


def reaching(server: Server, known_hosts: Path | str | None) -> dict[str, Any]:
    """Return how a person's Ansible reaches the server; without a known_hosts file, ssh asks for the host key."""
    variables: dict[str, Any] = {
        "ansible_become": server.user != "root",
        "ansible_host": server.host,
        "ansible_port": server.port,
        "ansible_user": server.user,
    }
    if known_hosts is not None:
        variables["ansible_ssh_common_args"] = (
            f"-o {_trusting(known_hosts)} -o HostKeyAlias={ssh_options.ALIAS} "
            "-o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=/dev/null"
        )
    return variables


def write_for_hands(
    directory: Path, server: Server, options: ProvisionOptions, *, key_file: Path | None = None
) -> list[Path]:
    """Write what a person needs to run the playbooks with plain `ansible-playbook`; no secret is among it.

    The host key must be pinned in `server.host_key`; Ansible then asks for passwords itself (`--ask-pass`,
    `--ask-become-pass`).

    Returns:
        The files that were written: the inventory, the known_hosts file that it names, and the playbook of a site.

    """
    if server.host_key is None:
        raise ValueError("the host key is not known")
    directory.mkdir(parents=True, exist_ok=True)
    known_hosts, inventory = directory.absolute() / "known_hosts", directory.absolute() / "inventory.yml"
    known_hosts.write_text(ssh_options.known_hosts_line(server.host_key), encoding="ascii")
    values = reaching(server, known_hosts)
    if key_file is not None:
        values["ansible_ssh_private_key_file"] = str(key_file.absolute())
    inventory.write_text(render(values | variables(server, options)), encoding="utf-8")
    return [inventory, known_hosts, *_write_play(directory.absolute() / "play", options)]


def _write_play(folder: Path, options: ProvisionOptions) -> list[Path]:
    """Write the playbook with a site's steps, and their roles; what an earlier one left there goes."""
    if options.site is None:
        return []
    if folder.exists():
        shutil.rmtree(folder)
    for name, data in siteplay.files(options.site).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return [folder / siteplay.PLAYBOOK]
