"""Where webhooks may lead: the grammar of their addresses, and which machines may be reached."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import ocore
from api.errors import Problem

if TYPE_CHECKING:
    from api.settings import Settings

_TEXT: Final = re.compile(r"[!-\[\]-~]+")  # printable ASCII without blanks and backslashes, which readers differ about
_PORTS: Final = {"https": 443, "http": 80}
_LOCAL: Final = "localhost"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook's address in its parts."""

    scheme: str
    host: str
    port: int
    target: str  # path and query, as the request names them

    @property
    def authority(self) -> str:
        """What the header `Host` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def reach(settings: Settings) -> ocore.Reach:
    """Return which addresses webhooks may lead to."""
    return ocore.Reach(loopback=settings.webhook_allow_loopback, private=settings.webhook_allow_private)


def is_local(host: str) -> bool:
    """Tell whether a host is this machine by its loopback, where nobody listens to plain HTTP on the way."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == _LOCAL


def origin(url: str) -> str:
    """Return where an address leads, without its path and query: for many receivers who knows those may send."""
    found = urlsplit(url)
    return f"{found.scheme}://{found.netloc}/…"


def parsed(url: str, settings: Settings) -> Endpoint:
    """Return an address in its parts, or raise `invalid`. A name is looked up at each delivery, not here."""
    if not _TEXT.fullmatch(url):
        raise _invalid("must be printable ASCII without blanks and backslashes; a name with others in punycode")
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError:
        raise _invalid("must be an URL") from None
    if found.scheme not in _PORTS or not found.hostname:
        raise _invalid("must begin with https://, and name a host")
    if found.username is not None or found.password is not None or "#" in url:
        raise _invalid("must have no user, no password and no fragment")
    if port == 0:
        raise _invalid("must have a port from 1 to 65535")
    try:
        host = ocore.check_host(found.hostname)
    except ocore.ConfigError as error:
        raise _invalid(f"has a host that breaks its rule: it {error.rule}") from None
    if found.scheme == "http" and not (settings.webhook_allow_loopback and is_local(host)):
        raise _invalid("must begin with https://; http:// is for this machine itself, where the service allows that")
    query = f"?{found.query}" if found.query else ""
    endpoint = Endpoint(found.scheme, host, port or _PORTS[found.scheme], (found.path or "/") + query)
    _check_literal(endpoint, settings)
    return endpoint


def _check_literal(endpoint: Endpoint, settings: Settings) -> None:
    """Refuse an address that would be refused at every delivery."""
    try:
        ipaddress.ip_address(endpoint.host)
    except ValueError:
        return
    found = ocore.resolve(endpoint.host, endpoint.port, reach(settings))
    if isinstance(found, ocore.Failure):
        raise _invalid(f"leads to an address that is not allowed: {found.message}".removesuffix("."))


def _invalid(rule: str) -> Problem:
    return Problem("invalid", f"/url: {rule}.", errors=[("/url", rule)])
