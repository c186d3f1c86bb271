"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from ocore.sizing import MAX_USERS
from ocore.specs import MAX_CORES
from ocore.steps import CHANGING

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable


def add_json(parser: ArgumentParser) -> None:
    """Let a machine read the output."""
    parser.add_argument("--json", action="store_true", help="write one JSON object per line")


def add_target(parser: ArgumentParser, *, optional: bool = False) -> None:
    """Name the server."""
    parser.add_argument(
        "target",
        metavar="[USER@]HOST[:PORT]",
        nargs="?" if optional else None,
        help="the server; the user is root and the port 22 where left out; an IPv6 address in brackets",
    )
    parser.add_argument(
        "--id",
        default="",
        help="names the server in its marker file (default: made from host and port); "
        "give the same one again when the server's address changes",
    )


def add_login(parser: ArgumentParser) -> None:
    """Say how to log in and to become root."""
    group = parser.add_argument_group("logging in (one of the first four)")
    way = group.add_mutually_exclusive_group()
    way.add_argument("--key", metavar="FILE", help="a private key; - reads it from standard input")
    way.add_argument("--password-file", metavar="FILE", help="the login password; - likewise")
    way.add_argument("--ask-password", action="store_true", help="ask for the login password")
    way.add_argument("--agent", action="store_true", help="use the keys of the ssh-agent at SSH_AUTH_SOCK")
    group.add_argument(
        "--passphrase-file", metavar="FILE", help="the key's passphrase; - likewise (default: ask where it has one)"
    )
    sudo = group.add_mutually_exclusive_group()
    sudo.add_argument(
        "--sudo-password-file", metavar="FILE", help="the user's password for sudo; - likewise (default: the login's)"
    )
    sudo.add_argument("--ask-sudo-password", action="store_true", help="ask for it")


def add_agent(parser: ArgumentParser) -> None:
    """Take the token of the server's agent."""
    parser.add_argument(
        "--agent-token-file",
        metavar="FILE",
        help="the server's own token, for its agent to post to --agent-url; - likewise "
        "(default: the agent stays as it is)",
    )


def add_trust(parser: ArgumentParser) -> None:
    """Say which host key is the right one."""
    parser.add_argument(
        "--host-key",
        metavar="KEY",
        help="the server's key: its fingerprint (SHA256:...) or 'TYPE BASE64'; pinned in place of another "
        "(default: the pinned one; where none is, the first one seen is pinned)",
    )
    add_state(parser)


def add_state(parser: ArgumentParser) -> None:
    """Say where pins are kept."""
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="where pinned host keys are kept (default: $XDG_STATE_HOME/ocore, ~/.local/state/ocore)",
    )


def add_run(parser: ArgumentParser) -> None:
    """Bound the run."""
    parser.add_argument("--timeout", metavar="SECONDS", type=_seconds, help="stop the run after this time")


def add_selection(parser: ArgumentParser) -> None:
    """Choose which steps run."""
    parser.add_argument(
        "--step",
        action="append",
        metavar="STEP",
        default=[],
        help=f"only this step besides validation; may be given several times: {', '.join(CHANGING)}, or one of --site",
    )
    parser.add_argument("--force", action="store_true", help="run every step, also where all is already so")


def add_check(parser: ArgumentParser) -> None:
    """Let a run change nothing."""
    parser.add_argument("--check", action="store_true", help="change nothing, but say what would change")


def add_figures(parser: ArgumentParser) -> None:
    """Take figures instead of a server."""
    group = parser.add_argument_group("figures instead of a server (nothing is contacted)")
    group.add_argument("--cores", metavar="N", type=_whole(1, MAX_CORES), help="usable cores")
    group.add_argument("--ram-mb", metavar="N", type=_whole(1, 2**32), help="RAM in MiB")
    group.add_argument("--disk-gb", metavar="N", type=_whole(0, 2**22), help="free disk space in GiB")


def add_more(parser: ArgumentParser) -> None:
    """Take hardware that is to be added in thought."""
    group = parser.add_argument_group("what if there were more of it")
    group.add_argument("--add-cores", metavar="N", type=_whole(0, MAX_CORES), default=0, help="cores more")
    group.add_argument("--add-ram-mb", metavar="N", type=_whole(0, 2**32), default=0, help="MiB of RAM more")
    group.add_argument("--add-disk-gb", metavar="N", type=_whole(0, 2**22), default=0, help="GiB of disk more")


def add_size(parser: ArgumentParser) -> None:
    """Take what a machine is to carry."""
    parser.add_argument("--users", metavar="N", type=_whole(1, MAX_USERS), required=True, help="concurrent users")
    parser.add_argument("--instances", metavar="N", type=_whole(1, MAX_USERS), default=1, help="instances (default: 1)")


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}")
        return value

    parse.__name__ = "whole number"  # argparse puts it into its words for what is no number at all
    return parse


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError("must be more than 0")
    return value
