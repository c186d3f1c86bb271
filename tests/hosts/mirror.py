"""Which package sources the hosts get: the ones that this machine's apt is set to, and none of our own choosing."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.hosts.engine import HostError

FORMAT = "$(REPO_URI)|$(ORIGIN)|$(LABEL)"
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PROXIES = ("Acquire::http::Proxy", "Acquire::https::Proxy")


@dataclass(frozen=True)
class Sources:
    """What apt inside a host needs to reach the sources that this machine uses."""

    archive: str
    security: str | None
    proxies: tuple[str, ...]
    authorities: Path | None

    def lines(self, suite: str) -> list[str]:
        """Return the `deb` lines for a suite."""
        lines = [f"deb {self.archive} {suite} main", f"deb {self.archive} {suite}-updates main"]
        return [*lines, f"deb {self.security} {suite}-security main"] if self.security else lines

    def pinned_addresses(self, hosts: Path = Path("/etc/hosts")) -> dict[str, str]:
        """Return the source hosts that only this machine's hosts file knows, with their addresses."""
        wanted = {urlsplit(uri).hostname for uri in (self.archive, self.security or "")}
        found: dict[str, str] = {}
        for line in hosts.read_text(encoding="utf-8").splitlines():
            address, *names = line.partition("#")[0].split() or [""]
            found |= {name: address for name in names if name in wanted}
        return found


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostError(f"apt's configuration could not be read with {command[0]}: {error}") from error


def _setting(name: str) -> str:
    """Return one value of apt's configuration, or an empty string."""
    text = _output("apt-config", "shell", "VALUE", name).strip()
    return shlex.split(text)[0].partition("=")[2] if text else ""


def _first(repositories: list[list[str]], label: str) -> str | None:
    for uri, origin, found in repositories:
        if origin == "Debian" and found == label and urlsplit(uri).scheme in {"http", "https"}:
            return uri
    return None


def read() -> Sources:
    """Read the package sources from apt's own configuration."""
    rows = _output("apt-get", "indextargets", "--format", FORMAT, "Created-By: Packages").splitlines()
    repositories = [row.split("|") for row in rows]
    archive = _first(repositories, "Debian")
    if archive is None:
        raise HostError("apt on this machine has no Debian archive reached by http(s) (was `apt-get update` run?)")
    security = _first(repositories, "Debian-Security")
    proxies = tuple(f'{name} "{value}";' for name in PROXIES if (value := _setting(name)))
    https = any(uri.startswith("https:") for uri in (archive, security or ""))
    authorities = Path(_setting("Acquire::https::CAInfo") or BUNDLE)
    return Sources(archive, security, proxies, authorities if https and authorities.exists() else None)
