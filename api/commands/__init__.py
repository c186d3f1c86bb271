"""The commands that the service adds to `ocore`, by the entry point `ocore.commands`.

Every call of `ocore` loads this module, also where nothing of the service is installed: it imports nothing but the
standard library, and each command loads its own when it is carried out.
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_RINGS: Final = ("encryption", "token", "receipt")
_FAILED: Final = 1
_MISSING: Final = "The service is not installed here: pip install 'ocore[service]'"


def add(subparsers: Any) -> None:
    """Add the commands."""
    _add_serve(subparsers)
    _add_org(subparsers)
    _add_token(subparsers)
    _add_keys(subparsers)
    _add_settings(subparsers)


def _parser(subparsers: Any, name: str, words: str, module: str = "") -> ArgumentParser:
    """Add a command; `module` in this package carries it out, by the function with the command's own name."""
    parser: ArgumentParser = subparsers.add_parser(name, help=words, description=f"{words[:1].upper()}{words[1:]}.")
    if module:
        parser.set_defaults(run=lambda arguments: _carry_out(module, name, arguments))
        parser.add_argument("--home", metavar="DIR", help="the service's folder (default: OCORE_HOME, else its own)")
    return parser


def _carry_out(module: str, name: str, arguments: Namespace) -> int:
    try:
        found = importlib.import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("api."):
            raise
        return _complain(_MISSING)
    # These two are there once the service is.
    from pydantic import ValidationError  # noqa: PLC0415

    from api.errors import SetupError  # noqa: PLC0415

    try:
        code: int = getattr(found, name)(arguments)
    except SetupError as error:
        return _complain(str(error), error.exit_code)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)]
        return _complain("Wrong settings:\n  " + "\n  ".join(wrong))
    except tomllib.TOMLDecodeError as error:
        return _complain(f"The settings file is not TOML: {error}.")
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}." if error.filename else str(error))
    return code


def _complain(words: str, code: int = _FAILED) -> int:
    sys.stderr.write(f"ocore: {words}\n")
    return code


def _add_serve(subparsers: Any) -> None:
    parser = _parser(subparsers, "serve", "run the service: the API, a worker and the monitor", "serve")
    parser.add_argument(
        "--role", choices=("all", "api", "worker"), default="all", help="what this process does (default: all of it)"
    )
    parser.add_argument("--host", help="the address to listen at (default: the setting's)")
    parser.add_argument("--port", type=int, help="the port to listen at; 0: any free one (default: the setting's)")
    parser.add_argument(
        "--replay",
        metavar="DIR",
        nargs="?",
        const="",
        help="reach no server: answer every run from the recordings in DIR, or from those that are shipped; for tests "
        "of clients. The data is in a folder that goes with the process, unless --home names another",
    )


def _add_org(subparsers: Any) -> None:
    group = _parser(subparsers, "org", "make and list organizations").add_subparsers(metavar="WHAT", required=True)
    create = _parser(group, "create", "make an organization", "organizations")
    create.add_argument("name", help="its name")
    create.add_argument("--json", action="store_true", help="say it for a machine")
    quota = _parser(group, "quota", "show how much an organization may have, or set it", "organizations")
    quota.add_argument("name", help="the organization's name")
    for what, words in (("servers", "how many servers"), ("runs", "how many runs that wait")):
        quota.add_argument(f"--{what}", metavar="N", help=f"{words}; 0: any number, default: as the settings say")
    quota.add_argument("--json", action="store_true", help="say it for a machine")
    listed = _parser(group, "list", "list the organizations", "organizations")
    listed.add_argument("--json", action="store_true", help="say it for a machine")


def _add_token(subparsers: Any) -> None:
    group = _parser(subparsers, "token", "issue and revoke tokens, and list the revoked ones").add_subparsers(
        metavar="WHAT", required=True
    )
    issue = _parser(group, "issue", "issue a token for an organization", "tokens")
    issue.add_argument("--org", required=True, metavar="NAME", help="the organization")
    issue.add_argument("--subject", default="cli", metavar="TEXT", help="whom it is for (default: cli)")
    issue.add_argument(
        "--permission",
        action="append",
        choices=("view:servers", "manage:servers"),
        help="what it allows; may be given twice (default: manage:servers, which implies the other)",
    )
    issue.add_argument("--days", type=int, default=30, help="how many days it lives (default: 30)")
    issue.add_argument("--json", action="store_true", help="say it for a machine")
    listed = _parser(group, "list", "list the tokens that were taken back and would not have ended yet", "tokens")
    listed.add_argument("--json", action="store_true", help="say it for a machine")
    revoke = _parser(group, "revoke", "take a token back, at once", "tokens")
    revoke.add_argument(
        "token", metavar="ID", help="its id, as `issue` said it; - to read the token itself from standard input"
    )


def _add_keys(subparsers: Any) -> None:
    group = _parser(subparsers, "keys", "make and exchange keys").add_subparsers(metavar="WHAT", required=True)
    create = _parser(group, "create", "make a ring of keys where there is none", "keys")
    create.add_argument("ring", choices=_RINGS, help="which ring")
    rotate = _parser(group, "rotate", "make a new key the active one", "keys")
    rotate.add_argument("ring", choices=_RINGS, help="which ring")
    rotate.add_argument(
        "--prepare",
        action="store_true",
        help="only put a new key into the ring, for its copies on other machines to have it before it is used",
    )
    drop = _parser(group, "drop", "remove the older keys: their tokens end, their receipts stay verifiable", "keys")
    drop.add_argument("ring", choices=_RINGS, help="which ring")


def _add_settings(subparsers: Any) -> None:
    parser = _parser(subparsers, "settings", "list every setting of the service", "reference")
    parser.add_argument("--markdown", action="store_true", help="as the page in docs")
