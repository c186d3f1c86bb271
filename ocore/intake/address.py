"""Hosts and users: their grammar, and which addresses may be connected to.

A host is resolved once for each run, and the connection then goes to that literal: a second look-up could be answered
differently (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final

import idna

from ocore import patience
from ocore.errors import ConfigError, ErrorCode, Failure

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_HOST: Final = 255
MAX_NAME: Final = 253
RESOLVE_SECONDS: Final = 10.0

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_USER: Final = re.compile(r"[a-z_][a-z0-9._-]{0,63}")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_HOST_RULE: Final = "must be an IPv4 address in dotted form, an IPv6 address or a host name, and nothing else"

# Ways to write an IPv4 address inside an IPv6 one: what they lead to is what must be allowed.
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
# The metadata service of one large cloud has a private-looking IPv6 address.
_METADATA: Final = frozenset({ipaddress.ip_address("fd00:ec2::254")})
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")
# Those that are meant to be private, and those that no public host has but some networks use inside: for protocols,
# measurements, the future, and once upon a time IPv6's sites.
_MEANT: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
_USED: Final = ("192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "fec0::/10")
_PRIVATE: Final = tuple(ipaddress.ip_network(one) for one in (*_MEANT, *_USED))


@dataclass(frozen=True, slots=True)
class Reach:
    """Which addresses may be connected to.

    Attributes:
        loopback: this machine itself, by its loopback or by any other address that it has.
        private: the ranges of private networks (RFC 1918, RFC 4193, and RFC 6598's shared one), and those of RFC 6890
            that no public host has.

    """

    loopback: bool = False
    private: bool = True


def check_user(user: object) -> str:
    """Return the user, or raise ConfigError."""
    if not isinstance(user, str) or not _USER.fullmatch(user):
        raise ConfigError("user", "must be 1-64 of a-z 0-9 . _ - and begin with a letter or _")
    return user


def check_port(port: object) -> int:
    """Return the port, or raise ConfigError."""
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:  # noqa: PLR2004 - what TCP has
        raise ConfigError("port", "must be a whole number from 1 to 65535")
    return port


def check_host(host: object) -> str:
    """Return the host in its normal form (IPv6 without brackets, names in lower case and punycode), or raise."""
    if not isinstance(host, str) or not host or len(host) > MAX_HOST:
        raise ConfigError("host", f"{_HOST_RULE} (1-{MAX_HOST} characters)")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in bare:
        return _check_ipv6(bare)
    if bare != host:
        raise ConfigError("host", _HOST_RULE)
    # Whatever looks like a number to the C library must be a plain dotted quad: 127.1, 0x7f.1 and 2130706433 are
    # addresses to it, and so would be full-width digits.
    last = host.rstrip(".").rpartition(".")[2]
    if host.isascii() and _NUMBER.fullmatch(last):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ConfigError("host", _HOST_RULE) from None
    return _check_name(host)


def _check_ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ConfigError("host", _HOST_RULE) from None
    if address.scope_id is not None:
        raise ConfigError("host", "an IPv6 address must have no zone")
    # As RFC 5952 (section 5) recommends; str() writes it so from Python 3.13 on, and otherwise before.
    return f"::ffff:{address.ipv4_mapped}" if address.ipv4_mapped is not None else str(address)


def _check_name(name: str) -> str:
    trimmed = name.removesuffix(".")
    try:
        ascii_name = idna.encode(trimmed, uts46=True).decode() if not trimmed.isascii() else trimmed.lower()
    except idna.IDNAError:
        raise ConfigError("host", _HOST_RULE) from None
    labels = ascii_name.split(".")
    if len(ascii_name) > MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ConfigError("host", _HOST_RULE)
    # Full-width digits have become plain ones by now.
    if _NUMBER.fullmatch(labels[-1]) or not any(character.isalpha() for character in labels[-1]):
        raise ConfigError("host", _HOST_RULE)
    return ascii_name


def _unwrapped(address: Address) -> list[Address]:
    """Return the address and every IPv4 address that it stands for."""
    found = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        found += [one for one in inner if one is not None]
        if any(address in network for network in _NAT64):
            found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def _is_own(address: Address) -> bool:
    """Tell whether this machine has an address: towards itself, the kernel answers from the very same one."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((str(address), 9))  # of a datagram socket: nothing is sent
        except OSError:
            return False
        return str(asking.getsockname()[0]) == str(address)


def refusal(address: Address, allow: Reach) -> str | None:
    """Return why an address may not be connected to, or None."""
    for one in _unwrapped(address):
        if one.is_unspecified or (isinstance(one, ipaddress.IPv4Address) and one in _THIS_NETWORK):
            return "it stands for no host"
        if one.is_multicast or str(one) == "255.255.255.255":
            return "it stands for many hosts"
        if one.is_link_local or one in _METADATA:
            return "it is link-local (among them are clouds' metadata services)"
        reason = _out_of_reach(one, allow)
        if reason:
            return reason
    return None


def _out_of_reach(address: Address, allow: Reach) -> str | None:
    if address.is_loopback and not allow.loopback:
        return "it is this machine's loopback"
    if not allow.private and any(address in network for network in _PRIVATE):
        return "it is in a private network"
    if not allow.loopback and _is_own(address):
        return "it is this machine's own address"
    return None


def resolve(host: str, port: int, allow: Reach) -> str | Failure:
    """Resolve a checked host to the one address that the run will use, or say why not.

    Every address that the name has must be allowed: one that is not means that the name cannot be trusted.
    """
    try:
        # getaddrinfo has no time limit of its own.
        found = patience.answer_of(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), RESOLVE_SECONDS)
    except TimeoutError:
        return Failure(ErrorCode.DNS_FAILED, f"Resolving {host} took longer than {RESOLVE_SECONDS:.0f} s.")
    except (OSError, UnicodeError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a name"
        return Failure(ErrorCode.DNS_FAILED, f"{host} could not be resolved: {words}.")
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    for text in addresses:
        reason = refusal(ipaddress.ip_address(text), allow)
        if reason:
            shown = text if text == host else f"{host} ({text})"
            return Failure(ErrorCode.ADDRESS_REFUSED, f"{shown} is refused: {reason}.")
    return addresses[0]
