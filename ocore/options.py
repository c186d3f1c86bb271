"""What a server is to become: the options of provisioning, each with its rule and the role variable that it sets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from ocore.errors import ConfigError
from ocore.intake import address
from ocore.site import Site

_IMAGE: Final = re.compile(r"[a-z0-9][a-z0-9._/:-]{0,199}:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(@sha256:[0-9a-f]{64})?")
_WHERE: Final = r"https?://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,200})(:[0-9]{1,5})?"
_SERVICE_URL: Final = re.compile(_WHERE + r"(/[A-Za-z0-9._~-]{1,100}){0,8}")
_PROXY_URL: Final = re.compile(_WHERE + r"/?")
_HOST: Final = "HOST is a name or an address (IPv6 in brackets), PORT 1-65535"
_MAX_PORT: Final = 65535
# The least and the largest value of each option that is a number.
_RANGE: Final = {
    "minimum_memory_mb": (0, 2**24),
    "minimum_disk_gb": (0, 2**20),
    "lock_timeout": (0, 1200),
    # More could not be written in the time of its step.
    "swap_mb": (0, 2**16),
    "agent_interval": (10, 3600),
}


def _are_ports(value: object) -> bool:
    """Tell whether a value is ports separated by commas."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,5}(,[0-9]{1,5})*", value):
        return False
    return all(0 < int(port) <= _MAX_PORT for port in value.split(","))


def _leads_somewhere(url: object, form: re.Pattern[str]) -> bool:
    """Tell whether a value is a URL of this form, with a host that can be one and a port that can be one."""
    if not isinstance(url, str) or not form.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        address.check_host(parts.hostname)
        possible = parts.port != 0
    except (ValueError, ConfigError):
        return False
    return possible


def _option(role_variable: str, default: Any, rule: str = "") -> Any:
    """Declare an option together with the role variable that it sets."""
    return field(default=default, metadata={"variable": role_variable, "rule": rule})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionOptions:
    """What a server is to become: everything that is not the server's own.

    Attributes:
        proxy: the reverse proxy.
        caddy_image: its image, pinned by tag and optionally digest.
        nginx_image: likewise.
        traefik_image: likewise.
        docker_source: where Docker comes from; auto: Docker's own repository where the host reaches it.
        minimum_memory_mb: validation refuses less MemTotal (MiB).
        minimum_disk_gb: validation refuses less free space for /var/lib/docker (GiB).
        lock_timeout: seconds to wait for apt's lock and for cloud-init, less than a step may take.
        apt_proxy: URL of an HTTP proxy for the host's package sources; empty: none.
        swap_mb: size of a swap file (MiB), at most 65536; 0: none. A server that is a container gets none.
        security: firewall, fail2ban and unattended upgrades; SSH's port in use always stays open.
        security_ports: more TCP ports to leave open with it, separated by commas.
        agent_url: address of the service, as the server reaches it, for the agent to post to; empty: no agent.
        agent_interval: seconds between two of the agent's heartbeats.
        allow_loopback: whether a server may be this machine itself.
        deny_private: whether addresses of private networks are refused.
        site: a folder with steps of one's own (docs/site-steps.md).

    """

    proxy: Literal["caddy", "nginx", "traefik", "none"] = _option("proxy_kind", "caddy")
    caddy_image: str = _option("proxy_caddy_image", "docker.io/library/caddy:2.10.2")
    nginx_image: str = _option("proxy_nginx_image", "docker.io/library/nginx:1.29.3")
    traefik_image: str = _option("proxy_traefik_image", "docker.io/library/traefik:v3.7.15")
    docker_source: Literal["auto", "official", "distribution"] = _option("docker_source", "auto")
    minimum_memory_mb: int = _option("preflight_minimum_memory_mb", 900)
    minimum_disk_gb: int = _option("preflight_minimum_disk_gb", 10)
    lock_timeout: int = _option("packages_lock_timeout", 300)
    apt_proxy: str = _option("packages_apt_proxy", "")
    swap_mb: int = _option("swap_mb", 0)
    security: bool = _option("security_enabled", default=False)
    security_ports: str = _option("security_ports", "")
    agent_url: str = _option("agent_url", "")
    agent_interval: int = _option("agent_interval", 30)
    allow_loopback: bool = False
    deny_private: bool = False
    site: Site | None = None

    def __post_init__(self) -> None:
        """Check every field against its rule."""
        if self.site is not None and not isinstance(self.site, Site):
            raise ConfigError("site", "must be a Site; Site.load reads one from a folder")
        _check_choice("proxy", self.proxy, ("caddy", "nginx", "traefik", "none"))
        _check_choice("docker_source", self.docker_source, ("auto", "official", "distribution"))
        for name, (least, most) in _RANGE.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ConfigError(name, f"must be a whole number from {least} to {most}")
        for name in ("security", "allow_loopback", "deny_private"):
            # Of a text even "false" would count as true.
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(name, "must be true or false")
        self._check_texts()

    def _check_texts(self) -> None:
        for name in ("caddy_image", "nginx_image", "traefik_image"):
            if not isinstance(getattr(self, name), str) or not _IMAGE.fullmatch(getattr(self, name)):
                raise ConfigError(name, "must be an image reference with a tag, such as docker.io/library/caddy:2.10.2")
        if self.agent_url and not _leads_somewhere(self.agent_url, _SERVICE_URL):
            raise ConfigError("agent_url", f"must look like https://HOST[:PORT][/PATH]: {_HOST}")
        if self.apt_proxy and not _leads_somewhere(self.apt_proxy, _PROXY_URL):
            raise ConfigError("apt_proxy", f"must look like http://HOST:PORT: {_HOST}")
        if self.security_ports != "" and not _are_ports(self.security_ports):
            raise ConfigError("security_ports", "must be ports separated by commas, such as 8080,9000")

    @property
    def reach(self) -> address.Reach:
        """Which addresses a server may have."""
        return address.Reach(loopback=self.allow_loopback, private=not self.deny_private)

    def variables(self) -> dict[str, Any]:
        """Return the options as role variables."""
        return {one.metadata["variable"]: getattr(self, one.name) for one in fields(self) if "variable" in one.metadata}


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(name, f"must be one of {', '.join(allowed)}")
