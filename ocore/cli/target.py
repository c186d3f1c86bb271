"""How people name a server on the command line: [USER@]HOST[:PORT]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ocore.errors import ConfigError
from ocore.intake import address

DEFAULT_USER: Final = "root"
DEFAULT_PORT: Final = 22
_BRACKETED: Final = re.compile(r"(\[[^\[\]]*\])(?::(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Target:
    """A server's user, host and port, each checked."""

    user: str
    host: str
    port: int

    @property
    def place(self) -> str:
        """Return HOST:PORT, as `forget-host-key` takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_target(text: str) -> Target:
    """Read [USER@]HOST[:PORT]. Raises ConfigError; its words do not repeat the text."""
    user, at, rest = text.rpartition("@")
    host, port = _split(rest)
    return Target(
        user=address.check_user(user if at else DEFAULT_USER),
        host=address.check_host(host),
        port=DEFAULT_PORT if port is None else _port(port),
    )


def _split(rest: str) -> tuple[str, str | None]:
    if rest.startswith("["):
        bracketed = _BRACKETED.fullmatch(rest)
        if not bracketed:
            raise ConfigError("host", "must look like [IPv6 ADDRESS] or [IPv6 ADDRESS]:PORT where it begins with [")
        return bracketed[1], bracketed[2]
    host, colon, port = rest.partition(":")
    if ":" in port:
        raise ConfigError("host", "an IPv6 address is written in brackets, as in root@[2001:db8::1]:22")
    return host, port if colon else None


def _port(text: str) -> int:
    # int() would take " 22", "+22", "2_2" and other scripts' digits, too.
    return address.check_port(int(text) if re.fullmatch(r"[0-9]{1,5}", text) else None)
