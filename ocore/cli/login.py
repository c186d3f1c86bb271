"""Credentials from what the arguments name: files, standard input, the terminal, an agent. Never from an argument."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocore.errors import ConfigError, ErrorCode
from ocore.intake import keys
from ocore.models import Credentials

if TYPE_CHECKING:
    from argparse import Namespace

Ask = Callable[[str], str]

STDIN: Final = "-"
_MOST: Final = 64 * 1024
_FILES: Final = ("key", "password_file", "passphrase_file", "sudo_password_file", "agent_token_file")


def ask_at_terminal(question: str) -> str:
    """Ask for a secret without showing it, at the terminal even where standard input is another thing."""
    try:
        Path("/dev/tty").open("rb").close()
    except OSError:
        # Without a terminal getpass would read standard input and show what is typed.
        wanted = question.rstrip(": ").lower()
        words = f'there is none to ask for the {wanted}: name a file with it, see "logging in" in --help'
        raise ConfigError("terminal", words) from None
    return getpass.getpass(question)


def credentials(arguments: Namespace, ask: Ask) -> Credentials:
    """Collect the credentials that the arguments name."""
    _check_readers(arguments)
    sudo_password = _sudo_password(arguments, ask)
    if arguments.key:
        return Credentials(private_key=_private_key(arguments, ask), sudo_password=sudo_password)
    if arguments.password_file:
        return Credentials(password=_read_line(arguments.password_file), sudo_password=sudo_password)
    if arguments.ask_password:
        return Credentials(password=ask("Password: "), sudo_password=sudo_password)
    if arguments.agent:
        return Credentials(agent_socket=_agent_socket(), sudo_password=sudo_password)
    raise ConfigError(
        "credentials", "give --key FILE, --password-file FILE, --ask-password or --agent", ErrorCode.SECRET_REQUIRED
    )


def agent_token(arguments: Namespace) -> str | None:
    """Return the token of the server's agent, where the arguments name one."""
    file = getattr(arguments, "agent_token_file", None)
    return _read_line(file) if file else None


def _check_readers(arguments: Namespace) -> None:
    readers = ["--" + name.replace("_", "-") for name in _FILES if getattr(arguments, name, None) == STDIN]
    if len(readers) > 1:
        raise ConfigError(" and ".join(readers), "only one of them can read standard input")


def _sudo_password(arguments: Namespace, ask: Ask) -> str | None:
    if arguments.sudo_password_file:
        return _read_line(arguments.sudo_password_file)
    return ask("Password for sudo: ") if arguments.ask_sudo_password else None


def _private_key(arguments: Namespace, ask: Ask) -> str:
    text = _read(arguments.key)
    if not keys.is_encrypted(text):
        return text
    passphrase = (
        _read_line(arguments.passphrase_file) if arguments.passphrase_file else ask("Passphrase of the private key: ")
    )
    return keys.normalise(text, passphrase)


def _agent_socket() -> str:
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        raise ConfigError("--agent", "no ssh-agent is known: SSH_AUTH_SOCK is not set", ErrorCode.SECRET_REQUIRED)
    return path


def _read(name: str) -> str:
    try:
        if name == STDIN:
            return sys.stdin.read(_MOST)
        with Path(name).open(encoding="utf-8", newline="") as file:
            return file.read(_MOST)
    except OSError as error:
        raise ConfigError(name, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(name, "is not text in UTF-8") from None


def _read_line(name: str) -> str:
    """Return a secret without the line end that editors and `echo` put after it; everything else is kept as it is."""
    return _read(name).removesuffix("\n").removesuffix("\r")
