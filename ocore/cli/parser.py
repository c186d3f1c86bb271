"""The arguments of every command."""

from __future__ import annotations

import argparse
import re
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ocore.cli import commands
from ocore.cli.arguments import (
    add_agent,
    add_check,
    add_figures,
    add_json,
    add_login,
    add_more,
    add_run,
    add_selection,
    add_size,
    add_state,
    add_target,
    add_trust,
)
from ocore.cli.constants import add_constants
from ocore.cli.exits import MEANINGS, Exit
from ocore.cli.options import OPTIONS, add_options
from ocore.cli.receipt import add_receipt, receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ocore.cli.outcome import Outcome
    from ocore.cli.session import Session

    Command = Callable[[Session], Outcome]
    Subparsers = argparse._SubParsersAction["Parser"]  # noqa: SLF001 - its only name

# Other packages add their commands here: a callable that is given the subparsers object. Each of its commands sets
# the default `run`, a function from the parsed arguments to an exit code.
ENTRY_POINTS: Final = "ocore.commands"

_EPILOG: Final = "\n".join(
    [
        "exit codes:",
        *(f"  {code.value:<5}{meaning}" for code, meaning in MEANINGS.items()),
        "",
        "Passwords and passphrases are never arguments: name a file, - for standard input, or be asked.",
        "Jump hosts (ProxyJump) are not supported. ssh's own configuration (~/.ssh/config, known_hosts) is not read.",
    ]
)
# The options that matter where a server is reached but not provisioned.
_REACHING: Final = ("allow_loopback", "deny_private")
_CLEANING: Final = (*_REACHING, "lock_timeout")
# The commands whose results say what they were asked for.
ASKED: Final = ("provision", "plan")
_SECRETS: Final = ("--pass", "--sudo-pass", "-p")


class Parser(argparse.ArgumentParser):
    """argparse, but it never repeats words that it does not know: one may be a password."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("epilog", _EPILOG)
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        # No abbreviations: `--password X` must not be taken for `--password-file X`.
        super().__init__(allow_abbrev=False, **settings)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse what is left over."""
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            self._refuse(rest)
        return parsed

    def error(self, message: str) -> NoReturn:
        """Say what is wrong; the whole usage would bury it."""
        # Of `--ask-password=X`, argparse would show X.
        said = re.sub(r"ignored explicit argument .*", "takes no value", message, flags=re.DOTALL)
        self.exit(Exit.USAGE, f"{self.prog}: {said}\nSee: {self.prog} --help\n")

    def _refuse(self, rest: Sequence[str]) -> NoReturn:
        # Of `--password=X` and `-pX` only the name is shown.
        names = [word.partition("=")[0] if word.startswith("--") else word[:2] for word in rest if word[0:1] == "-"]
        said = f"there is no {', '.join(names)}" if names else f"{len(rest)} argument(s) too many"
        if any(name.startswith(_SECRETS) for name in names):
            said += "; a password is never an argument: see --password-file and --ask-password"
        self.error(said)


def build() -> Parser:
    """Return the parser of `ocore` with every command, also those of other packages."""
    parser = Parser(prog="ocore", description="Turn a bare Linux server into a ready and measured one, over SSH.")
    parser.add_argument("--version", action="version", version=f"ocore {version('ocore')}")
    subparsers: Subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_changing(subparsers)
    _add_reading(subparsers)
    _add_local(subparsers)
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()(subparsers)
    return parser


def _add(subparsers: Subparsers, name: str, command: Command) -> Parser:
    """Add a command; what it says of itself is its function's docstring."""
    words = (command.__doc__ or "").rstrip(".")
    parser = subparsers.add_parser(name, help=words[:1].lower() + words[1:], description=f"{words}.")
    parser.set_defaults(command=command, name=name)
    add_json(parser)
    return parser


def _add_run(subparsers: Subparsers, name: str, command: Command, options: Collection[str] = OPTIONS) -> Parser:
    """Add a command that contacts a server, with those of the options that matter to it."""
    parser = _add(subparsers, name, command)
    add_target(parser, optional=name == "capacity")
    add_login(parser)
    add_trust(parser)
    add_run(parser)
    add_options(parser, options)
    if "agent_url" in options:
        add_agent(parser)
    return parser


def _add_changing(subparsers: Subparsers) -> None:
    provision = _add_run(subparsers, "provision", commands.provision)
    add_selection(provision)
    add_check(provision)
    _add_run(subparsers, "cleanup", commands.cleanup, _CLEANING)


def _add_reading(subparsers: Subparsers) -> None:
    _add_run(subparsers, "validate", commands.validate)
    add_selection(_add_run(subparsers, "plan", commands.plan))
    _add_run(subparsers, "drift", commands.drift)
    _add_run(subparsers, "facts", commands.facts, _REACHING)
    capacity = _add_run(subparsers, "capacity", commands.capacity, _REACHING)
    add_constants(capacity)
    add_figures(capacity)
    add_more(capacity)


def _add_local(subparsers: Subparsers) -> None:
    add_options(_add(subparsers, "steps", commands.steps), ("site",))
    size = _add(subparsers, "size", commands.size)
    add_size(size)
    add_constants(size)
    inventory = _add(subparsers, "inventory", commands.inventory)
    add_target(inventory)
    inventory.add_argument("--directory", default=".", metavar="DIR", help="where to write (default: here)")
    inventory.add_argument("--key", metavar="FILE", help="the private key that the inventory is to name")
    add_trust(inventory)
    add_options(inventory, OPTIONS)
    add_receipt(_add(subparsers, "receipt", receipt))
    bundle = _add(subparsers, "debug-bundle", commands.debug_bundle)
    add_target(bundle)
    bundle.add_argument("--log", metavar="FILE", help="what the run printed with --json")
    bundle.add_argument("--output", metavar="FILE", help="where to write (default: ocore-debug-RUN.tar.gz, here)")
    add_trust(bundle)
    add_selection(bundle)
    add_check(bundle)
    add_options(bundle, OPTIONS)
    forget = _add(subparsers, "forget-host-key", commands.forget_host_key)
    forget.add_argument("target", metavar="HOST[:PORT]", help="the server; an IPv6 address in brackets")
    add_state(forget)
