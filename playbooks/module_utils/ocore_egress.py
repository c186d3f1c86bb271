"""Whether a server reaches the sources of its packages: by connecting to them, all at the same time."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path
from typing import Dict, List, Optional, Tuple
from urllib.parse import urlsplit

from ansible.module_utils.ocore_commands import output
from ansible.module_utils.ocore_packages import manager
from ansible.module_utils.ocore_text import plain, read_text

SECONDS = 5.0
MAX_SOURCES = 20
PORTS = {"http": 80, "https": 443}
_PROXY = re.compile(r"^PROXY='(.*)'$", re.MULTILINE)

Address = Tuple[str, int]


def address(uri: str) -> Optional[Address]:
    """Return host and port of a source; None for one that is not on the network, such as a disk."""
    try:
        parts = urlsplit(uri.strip())
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def addresses(uris: str) -> List[Address]:
    """Return the addresses of the sources on the network, one source a line, each address once."""
    found = {address(line) for line in uris.splitlines()}
    return sorted(one for one in found if one is not None)[:MAX_SOURCES]


def package_sources(proxy: str = "") -> List[Address]:
    """Return where the package manager connects to: to its proxy, if there is one, else to its sources."""
    if manager() == "dnf":
        return dnf_sources(proxy)
    configured = _PROXY.search(output(["apt-config", "shell", "PROXY", "Acquire::http::Proxy"]))
    proxy = proxy or (configured.group(1) if configured else "")
    if proxy and proxy != "DIRECT":
        return addresses(proxy)
    return addresses(output(["apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)"]))


def parse_repositories(text: str, variables: Dict[str, str]) -> str:
    """Return the addresses of the repositories of dnf's files that are enabled, one a line."""
    found: List[str] = []
    for section in re.split(r"^\[", text, flags=re.MULTILINE)[1:]:
        values = dict(re.findall(r"^(\w+)\s*=\s*(\S+)", section, re.MULTILINE))
        uri = next((values[name] for name in ("baseurl", "mirrorlist", "metalink") if name in values), "")
        if values.get("enabled", "1") in ("1", "true", "True", "yes"):
            found.append(re.sub(r"\$\{?(\w+)\}?", lambda name: variables.get(name.group(1), name.group(0)), uri))
    # Where a variable in the host is not known, neither is the host.
    return "\n".join(uri for uri in found if "$" not in urlsplit(uri).netloc)


def dnf_sources(proxy: str, etc: str = "/etc") -> List[Address]:
    """Return where dnf connects to."""
    configured = re.search(r"^proxy\s*=\s*(\S+)", read_text(f"{etc}/dnf/dnf.conf"), re.MULTILINE)
    proxy = proxy or (configured.group(1) if configured else "")
    if proxy and proxy != "_none_":
        return addresses(proxy)
    variables = {path.name: read_text(str(path)).strip() for path in sorted(Path(etc, "dnf", "vars").glob("*"))}
    files = sorted(Path(etc, "yum.repos.d").glob("*.repo"))
    return addresses(parse_repositories("\n".join(read_text(str(path)) for path in files), variables))


def unreachable(sources: List[Address], seconds: float = SECONDS) -> Dict[Address, str]:
    """Return the addresses that do not answer in time, and why."""
    silent = dict.fromkeys(sources, "no answer")
    threads = [threading.Thread(target=_connect, args=(source, seconds, silent), daemon=True) for source in sources]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        # A name that does not resolve can take longer than a connection may; such a thread ends with the program.
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(silent)


def _connect(source: Address, seconds: float, silent: Dict[Address, str]) -> None:
    try:
        socket.create_connection(source, timeout=seconds).close()
    except OSError as error:
        silent[source] = plain(error.strerror or error)
    else:
        del silent[source]
