"""Debug bundles: what a person elsewhere needs to make a run again by hand, without a secret in it."""

from __future__ import annotations

import io
import json
import re
import tarfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from ocore import inventory, siteplay
from ocore.errors import ConfigError
from ocore.evidence import tools
from ocore.options import ProvisionOptions
from ocore.ssh import options as ssh_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocore.models import Server

# Stands where a secret was.
FILL_IN: Final = "FILL-IN"
_SECRET: Final = re.compile(r"token|passw|passphrase|secret|private_key|credential", re.IGNORECASE)
_SITE_TOO: Final = " The site's roles in `play/` are, as they are: with whatever secret was written into them."
_AGENT: Final = "agent_token"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
# Each kind of run: its playbook, and the options that it is played with.
KINDS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "validate": ("validate", ()),
    "provision": ("provision", ()),
    "drift": ("provision", ("--tags", "look")),
    "cleanup": ("cleanup", ()),
}


def redacted(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return role variables with a placeholder for each that is a secret by its name."""
    return {name: FILL_IN if value and _SECRET.search(name) else value for name, value in variables.items()}


def basis(options: ProvisionOptions | None = None) -> dict[str, Any]:
    """Return as plain data what a run here and now is made with: variables, versions, and digests of the roles."""
    return {"variables": redacted((options or ProvisionOptions()).variables())} | tools(options)


@dataclass(frozen=True, slots=True)
class DebugRun:
    """A run as a bundle tells of it.

    Attributes:
        name: names the bundle and its folder.
        kind: validate, provision, drift or cleanup.
        login: how the run logged in; empty where that is not known.
        steps: the steps that were chosen.
        force: whether all of them ran.
        check: whether nothing was to change.
        basis: what it was made with, as `basis` returned it then; what this machine has now where it is None.
        record: more files by their names: what the run told. Secrets must be out of them already.

    """

    name: str
    kind: str = "provision"
    login: Literal["key", "password", ""] = ""
    steps: Sequence[str] = ()
    force: bool = False
    check: bool = False
    basis: Mapping[str, Any] | None = None
    record: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what becomes part of a file's name or of a command."""
        if not _NAME.fullmatch(self.name):
            raise ConfigError("name", "must be 1-100 of letters, digits, . _ -")
        if self.kind not in KINDS:
            raise ConfigError("kind", f"must be one of {', '.join(KINDS)}")


def debug_bundle(
    server: Server, run: DebugRun, options: ProvisionOptions | None = None, *, site_roles: bool = True
) -> bytes:
    """Return a gzipped tar with what makes a run again by hand; the server's credentials are not in it.

    Args:
        server: the server; with its pinned host key the bundle's runs trust that one only.
        run: the run.
        options: what the server was to become, where `run.basis` does not say it.
        site_roles: whether a site's roles are in it, with whatever the site wrote into them. Without them the bundle
            says by its digest which site's they are.

    """
    made_with = {"site": ""} | dict(run.basis or basis(options))
    site = (options or ProvisionOptions()).site if KINDS[run.kind][0] == siteplay.NAME else None
    reaching = inventory.reaching(server, "known_hosts" if server.host_key else None)
    variables = redacted(made_with["variables"]) | {"runtime_server_id": server.id} | _own_secrets(run, made_with)
    left_out = "" if site is None or site_roles else made_with["site"] or site.digest
    files: dict[str, str | bytes] = {
        "README.md": _readme(server, run, made_with, variables, site=site is not None, left_out=left_out),
        "run.sh": _script(run, site=site is not None),
        "inventory.yml": inventory.render(reaching | variables),
        "variables.json": _json({"ocore_force": run.force, "ocore_steps": list(run.steps)}),
        "versions.json": _json({name: made_with[name] for name in ("versions", "content", "site", "roles")}),
        **run.record,
    }
    if site is not None:
        played = siteplay.files(site).items()
        files |= {f"play/{name}": data for name, data in played if not left_out or not name.startswith(siteplay.ROLES)}
    if server.host_key is not None:
        files["known_hosts"] = ssh_options.known_hosts_line(server.host_key)
    return _packed(f"ocore-debug-{run.name}", files)


def _own_secrets(run: DebugRun, made_with: Mapping[str, Any]) -> dict[str, str]:
    """Return placeholders for the secrets that are no options: without a token no agent is wanted."""
    wanted = KINDS[run.kind][0] == "provision" and made_with["variables"].get("agent_url")
    return {_AGENT: FILL_IN} if wanted else {}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def _packed(folder: str, files: Mapping[str, str | bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, given in files.items():
            data = given.encode() if isinstance(given, str) else given
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime = len(data), int(time.time())
            entry.mode = 0o700 if name.endswith(".sh") else 0o600
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def _words(run: DebugRun) -> list[str]:
    """Return the options of ansible-playbook that make the run what it was."""
    return [*KINDS[run.kind][1], *(["--check", "--diff"] if run.check else [])]


def _script(run: DebugRun, *, site: bool) -> str:
    playbook = f"{KINDS[run.kind][0]}.yml"
    where = f"play/{playbook}" if site else f"$checkout/playbooks/{playbook}"
    words = "".join(f" {word}" for word in _words(run))
    return f"""#!/bin/sh
# Makes the run again: sh run.sh CHECKOUT [OPTIONS OF ansible-playbook]
set -eu
[ $# -gt 0 ] || {{ echo "usage: sh run.sh CHECKOUT [OPTIONS OF ansible-playbook]; README.md says more" >&2; exit 2; }}
checkout=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")"
if grep -q '"{FILL_IN}"' inventory.yml; then
  echo "inventory.yml still says {FILL_IN}; README.md says more" >&2
  exit 2
fi
ANSIBLE_CONFIG=$checkout/ansible.cfg exec ansible-playbook -i inventory.yml -e @variables.json{words} \\
  "$@" "{where}"
"""


def _readme(
    server: Server,
    run: DebugRun,
    made_with: Mapping[str, Any],
    variables: Mapping[str, Any],
    *,
    site: bool,
    left_out: str,
) -> str:
    versions = made_with["versions"]
    lines = [
        f"# Run {run.name}: {run.kind} of {server.address}",
        "",
        "No key, password or token of the server is in here."
        + (_SITE_TOO if site and not left_out else "")
        + " Unpacked anywhere, it makes the run again by hand:",
        "",
        f"    pip install 'ansible-core=={versions['ansible-core']}'",
        f"    sh run.sh CHECKOUT {' '.join(_fill_in(server, run))}".rstrip(),
        "",
        "Further options go to ansible-playbook.",
        f"CHECKOUT is a folder with the source of oCore {versions['ocore']}.",
        f"The digest of the run's playbooks and roles is `{made_with['content']}`.",
        f"In the checkout, `{_asking(made_with['site'])}` prints its own.",
        "",
        "## To be filled in",
        "",
        *(f"- {line}" for line in [*_missing(server, run, variables), *_missing_roles(left_out)]),
        "",
        "## Files",
        "",
        *(f"- `{name}`: {what}" for name, what in _files(server, run, site=site, left_out=left_out).items()),
    ]
    return "\n".join(lines) + "\n"


def _asking(site: str) -> str:
    """Return the command that prints the digest of a checkout, with a site of this digest."""
    return f"python -c 'from ocore import content; print(content.digest({json.dumps(site) if site else ''}))'"


def _fill_in(server: Server, run: DebugRun) -> list[str]:
    login = {"key": ["--private-key KEY"], "password": ["--ask-pass"], "": ["(--private-key KEY | --ask-pass)"]}
    return login[run.login] + (["--ask-become-pass"] if server.user != "root" else [])


def _missing(server: Server, run: DebugRun, variables: Mapping[str, Any]) -> list[str]:
    """Say what was taken out, or is not known here."""
    found = []
    if run.login != "password":
        found.append("`--private-key KEY`: the file with the server's private key (mode 0600)")
    if run.login != "key":
        found.append("`--ask-pass`: ansible-playbook asks for the login password")
    if server.user != "root":
        found.append("`--ask-become-pass`: it asks for the password for sudo; leave it away where sudo asks for none")
    if server.host_key is None:
        found.append("no host key is pinned: ssh asks whether the one that it is shown is right")
    names = [f"`{name}`" for name, value in variables.items() if value == FILL_IN]
    found += [f"in `inventory.yml`, where it says {FILL_IN}: {', '.join(names)}"] if names else []
    if variables.get(_AGENT) == FILL_IN:
        found.append(
            f"`{_AGENT}` is the server's own, in `/etc/ocore/agent/token` there; with another one, of 16 letters or "
            "more, its agent is not heard any more until the service's next run"
        )
    return found


def _missing_roles(left_out: str) -> list[str]:
    """Say whose roles were left out: who runs the service has them, and may have written secrets into them."""
    if not left_out:
        return []
    own = "python -c 'import ocore, pathlib; print(ocore.Site.load(pathlib.Path(\"SITE\")).digest)'"
    words = f"the folder `roles` of the site with the digest `{left_out}`. In the checkout, `{own}` prints that of SITE"
    return [f"`play/roles`: {words}"]


def _files(server: Server, run: DebugRun, *, site: bool, left_out: str) -> dict[str, str]:
    found = {
        "run.sh": "the command",
        "inventory.yml": "how the server is reached, and the role variables",
        "variables.json": "what the run was told besides",
        "versions.json": "versions of the programs, digests of the roles",
    }
    if server.host_key is not None:
        found["known_hosts"] = f"the host key that was pinned, {server.host_key.fingerprint}"
    if left_out:
        found["play/"] = "the playbook with the site's steps, as it is now"
    elif site:
        found["play/"] = "the playbook with the site's steps, and their roles with all that is in them, as they are now"
    return found | dict.fromkeys(run.record, "what the run told")
