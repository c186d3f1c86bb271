"""What the login says: how to ask for it, and what its answer means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from ocore.errors import ErrorCode, Failure
from ocore.ssh.words import meaning, sudo_meaning

if TYPE_CHECKING:
    from ocore.intake.hostkeys import HostKey
    from ocore.intake.scrub import Scrubber
    from ocore.models import Server

MINIMUM_PYTHON: Final = (3, 9)
_SENT_KEY: Final = re.compile(r"key sent by the remote host is\s+(SHA256:[A-Za-z0-9+/]{43})")
_HOW: Final = {
    "root": "The user is root.",
    "free": "sudo works without a password.",
    "given": "sudo works with the password.",
}


@dataclass(frozen=True, slots=True)
class Login:
    """What the login found.

    Attributes:
        connected: how the login went, in words; empty where it did not succeed.
        privileges: how the user became root, in words.
        becomes: whether Ansible must use sudo.
        interpreter: path of the host's Python; empty where there is none that will do.
        failure: why the run cannot go on.

    """

    connected: str = ""
    privileges: str = ""
    becomes: bool = False
    interpreter: str = ""
    failure: Failure | None = None


def login_order(
    server: Server, where: str, key: HostKey, run: str, *, drain: Literal["none", "own", "all"], plays: bool = True
) -> dict[str, Any]:
    """Return the order to log in; it carries the credentials, and goes through a pipe only.

    Args:
        server: whose credentials are used.
        where: its address.
        key: the host key that it must have.
        run: the run's id.
        drain: whose left-overs are ended: nobody's, this run's, or those of all runs.
        plays: whether a playbook will follow.

    """
    credentials = server.credentials
    return {
        "op": "login",
        "address": where,
        "port": server.port,
        "user": server.user,
        "host_key": str(key),
        "private_key": credentials.private_key,
        "password": credentials.password,
        "agent_socket": credentials.agent_socket,
        "becoming": credentials.becoming if server.user != "root" else None,
        "run": run,
        "drain": drain,
        "plays": plays,
    }


def read_login(answer: dict[str, Any], server: Server, key: HostKey, scrub: Scrubber) -> Login:
    """Return what the answer to a login order means; `key` is the one that the host was held to."""
    answers: dict[str, str] = answer.get("answers") or {}
    said = scrub.plain(str(answer.get("stderr", "")), 300).rstrip(".")
    if "uid" not in answers:
        return Login(failure=_no_shell(answer, server, key, said))
    connected = f"Logged in to {server.address}"
    failure = _not_root(answers, server.user, scrub) or _not_done(answers, server.user, said)
    if failure:
        return Login(connected, failure=failure)
    how = answers.get("become", "")
    return Login(
        connected,
        privileges=_HOW.get(how, how) + _drained(answers),
        becomes=how != "root",
        interpreter=_interpreter(answers.get("python", "")),
    )


def _not_root(answers: dict[str, str], user: str, scrub: Scrubber) -> Failure | None:
    """Return why the user did not become root."""
    if "refused" in answers:
        words = scrub.plain(answers["refused"], 300).rstrip(".")
        return Failure(sudo_meaning(words), f"sudo refused {user}: {words}.")
    if answers.get("become") == "missing":
        return Failure(ErrorCode.SUDO_MISSING, f"{user} is not root, and the host has no sudo.")
    if answers.get("become") == "password" and "given" not in answers and "end" not in answers:
        return Failure(ErrorCode.SUDO_PASSWORD_REQUIRED, f"sudo asks {user} for a password, and none was given.")
    return None


def _not_done(answers: dict[str, str], user: str, said: str) -> Failure | None:
    """Return why the probe is no ground to go on from."""
    left = answers.get("undrained")
    if left is not None:
        words = f"{left} process(es) that an earlier run left on the server do not end; look at them there."
        return Failure(ErrorCode.STEP_FAILED, words)
    if "end" not in answers:
        words = f"The login shell of {user} did not finish the probe{': ' + said if said else ''}."
        return Failure(ErrorCode.CONNECTION_LOST, words)
    return None


def _no_shell(answer: dict[str, Any], server: Server, key: HostKey, said: str) -> Failure:
    # 255 is ssh's own; everything else is the end of what the host ran for us.
    if answer.get("code") in range(255):
        return Failure(ErrorCode.AUTH_DENIED, f"{server.user} has no login shell that runs commands.")
    code = meaning(said)
    if code is ErrorCode.NOT_SSH:  # it was, a moment ago
        code = ErrorCode.CONNECTION_LOST
    if code is ErrorCode.AUTH_DENIED:
        how = "password" if server.credentials.password is not None else "key"
        return Failure(code, f"{server.address} refused the {how}: {said}.")
    if code is ErrorCode.HOST_KEY_CHANGED:
        # ssh says it in a frame of @ that fills a screen.
        sent = _SENT_KEY.search(str(answer.get("stderr", "")))
        shows = sent[1] if sent else "a key of another type"
        words = f"it was {key.fingerprint} ({key.type}), now the host shows {shows}. Nothing was sent to it."
        return Failure(code, f"The host key changed between the first look at it and the login: {words}")
    return Failure(code, f"The login to {server.address} failed: {said or 'the connection was closed'}.")


def _drained(answers: dict[str, str]) -> str:
    left = answers.get("drained")
    return f" Ended {left} process(es) that an earlier run had left." if left and left.isdigit() else ""


def _interpreter(found: str) -> str:
    path, _, version = found.partition(" ")
    try:
        known = tuple(int(part) for part in version.split("."))
    except ValueError:
        return ""
    return path if known >= MINIMUM_PYTHON and path.startswith("/") and path.isprintable() else ""
