"""Checking conditions: what a step wants to be so on a server.

A condition is a dictionary with a `kind` and what that kind needs; what is in brackets may be left out.

    package        name                                     it is wholly installed
    packages_at_rest                                        the package manager left no package half done
    file           path content|sha256 [owner group mode]   it is a regular file with this very content
    directory      path [owner group mode]
    swapfile       path size_mb [owner group mode]          it is a regular file of this size, made for swapping
    json           path contains                            it contains these values, at any depth
    unit           name [active enabled path newer_than]    systemd has it, from that file
    nftables       name path                                the kernel has of this table what that file makes
    docker         at_least [info newer_than]               the running daemon's version, and what /info contains
    network        name [labels]                            of Docker
    container      name [image labels newer_than]           of Docker; it runs, from that image
    port           port                                     something accepts connections on this machine
    absent         [path] [unit] [table] [container]        none of them is there

`newer_than` is a list of files: what runs was started (a container: made) after each of them was last written, so that
it cannot work by what was in them before. That is compared in whole seconds, for systemd and Docker tell no more.

A check returns nothing where the condition holds, and otherwise says in a few words why it does not. What cannot be
read does not hold.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import socket
import stat
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional

from ansible.module_utils.ocore_commands import output
from ansible.module_utils.ocore_docker import DockerUnavailable
from ansible.module_utils.ocore_reading import Host, parse_timestamp
from ansible.module_utils.ocore_text import MAX_FILE_BYTES, read_bytes
from ansible.module_utils.ocore_versions import at_least

Condition = Dict[str, Any]
Check = Callable[[Host, Condition], Optional[str]]

PORT_SECONDS = 2.0
NFT_LIST = ("nft", "--stateless", "list", "table")
MIB = 1024**2
# At the end of the file's first page.
SWAP_SIGNATURE = b"SWAPSPACE2"
MAX_NAMES = 5


def reasons(conditions: Iterable[Condition], host: Host) -> List[str]:
    """Return why conditions do not hold, one reason for each that does not."""
    found = (why_not(condition, host) for condition in conditions)
    return [reason for reason in found if reason is not None]


def why_not(condition: Condition, host: Host) -> Optional[str]:
    """Return why a condition does not hold; None where it does. Never raises."""
    kind = str(condition.get("kind"))
    try:
        return KINDS[kind](host, condition)
    except DockerUnavailable as error:
        return str(error)
    except OSError as error:
        return f"{error.filename or kind} cannot be read: {error.strerror}"
    except Exception as error:  # noqa: BLE001 - a host may be broken in ways that nobody thought of
        return f"{kind} cannot be checked: {type(error).__name__}: {error}"


def units_of(conditions: Iterable[Condition]) -> List[str]:
    """Return the names of the units that conditions ask for."""
    names = (want.get("name") if want.get("kind") == "unit" else want.get("unit") for want in conditions)
    return [name for name in names if name]


def differing_key(found: Any, wanted: Any, name: str = "") -> Optional[str]:
    """Return the first key at which a value lacks what is wanted ("a.b"); None where it contains all of it."""
    if not isinstance(wanted, dict):
        return None if found == wanted else name
    if not isinstance(found, dict):
        return name
    for key, value in wanted.items():
        path = f"{name}.{key}" if name else str(key)
        if key not in found:
            return path
        inside = differing_key(found[key], value, path)
        if inside is not None:
            return inside
    return None


# --- packages and files ---------------------------------------------------------------------------------------------


def _package(host: Host, want: Condition) -> Optional[str]:
    return None if want["name"] in host.packages else f"package {want['name']} is not installed"


def _packages_at_rest(host: Host, _want: Condition) -> Optional[str]:
    return f"the package manager was interrupted: {', '.join(host.unfinished[:MAX_NAMES])}" if host.unfinished else None


def _file(_host: Host, want: Condition) -> Optional[str]:
    path = Path(want["path"])
    found = _lstat(path)
    if found is None:
        return f"file {path} is not there"
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is no regular file"
    wanted = want["sha256"] if "sha256" in want else hashlib.sha256(str(want["content"]).encode()).hexdigest()
    if hashlib.sha256(read_bytes(str(path), MAX_FILE_BYTES + 1)).hexdigest() != wanted:
        return f"file {path} has another content"
    return _ownership(path, found, want)


def _directory(_host: Host, want: Condition) -> Optional[str]:
    path = Path(want["path"])
    found = _lstat(path)
    if found is None:
        return f"directory {path} is not there"
    if not stat.S_ISDIR(found.st_mode):
        return f"{path} is no directory"
    return _ownership(path, found, want)


def _swapfile(_host: Host, want: Condition) -> Optional[str]:
    path = Path(want["path"])
    found = _lstat(path)
    if found is None:
        return f"swap file {path} is not there"
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is no regular file"
    if found.st_size != int(want["size_mb"]) * MIB:
        return f"swap file {path} has {found.st_size // MIB} MB, not {want['size_mb']}"
    if not read_bytes(str(path), os.sysconf("SC_PAGE_SIZE")).endswith(SWAP_SIGNATURE):
        return f"{path} was not made for swapping"
    return _ownership(path, found, want)


def _lstat(path: Path) -> Optional[os.stat_result]:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _ownership(path: Path, found: os.stat_result, want: Condition) -> Optional[str]:
    """Compare owner, group and mode, as far as the condition names them."""
    owner, group, mode = _user(found.st_uid), _group(found.st_gid), f"{stat.S_IMODE(found.st_mode):04o}"
    if want.get("owner", owner) != owner:
        return f"{path} belongs to {owner}, not to {want['owner']}"
    if want.get("group", group) != group:
        return f"{path} belongs to group {group}, not to {want['group']}"
    if want.get("mode", mode) != mode:
        return f"{path} has mode {mode}, not {want['mode']}"
    return None


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _json(_host: Host, want: Condition) -> Optional[str]:
    path = want["path"]
    if not Path(path).exists():
        return f"file {path} is not there"
    try:
        found = json.loads(read_bytes(path, MAX_FILE_BYTES).decode("utf-8"))
    except (ValueError, RecursionError):
        return f"file {path} is no JSON"
    key = differing_key(found, want["contains"])
    return None if key is None else f"file {path}: {key or 'the whole'} is not as wanted"


# --- systemd --------------------------------------------------------------------------------------------------------


def _unit(host: Host, want: Condition) -> Optional[str]:
    name = want["name"]
    unit = host.units.get(name)
    if unit is None or unit.get("LoadState") == "not-found":
        return f"unit {name} is not there"
    active, enabled, path = unit.get("ActiveState"), unit.get("UnitFileState"), unit.get("FragmentPath")
    if "active" in want and (active == "active") != want["active"]:
        return f"unit {name} is {active}"
    if "enabled" in want and (enabled == "enabled") != want["enabled"]:
        return f"unit {name} is {enabled or 'not enabled'}"
    if want.get("path", path) != path:
        return f"unit {name} comes from {path}, not from {want['path']}"
    if "newer_than" not in want:
        return None
    return _older(f"unit {name}", parse_timestamp(unit.get("ActiveEnterTimestamp", "")), want)


def _nftables(_host: Host, want: Condition) -> Optional[str]:
    """Let nft itself say what the file makes, in a network of its own, and compare: it writes rules in its own way."""
    table, path = want["name"], want["path"]
    found = output([*NFT_LIST, *table.split()])
    if not found:
        return f"the firewall's table {table} is not there"
    wanted = output(["unshare", "--net", "sh", "-c", f'nft --file "$0" && {" ".join(NFT_LIST)} {table}', path])
    return None if found == wanted else f"the firewall's table {table} is not what {path} makes"


# --- Docker ---------------------------------------------------------------------------------------------------------


def _docker(host: Host, want: Condition) -> Optional[str]:
    version, minimum = str(host.docker_info.get("ServerVersion", "")), str(want["at_least"])
    if not at_least(version, minimum):
        return f"Docker is {version}, older than {minimum}"
    key = differing_key(host.docker_info, want.get("info", {}))
    if key is not None:
        return f"the running Docker's {key} is not as wanted"
    return _older("the running Docker", host.docker_started, want) if "newer_than" in want else None


def _network(host: Host, want: Condition) -> Optional[str]:
    name = want["name"]
    network = host.networks.get(name)
    return f"network {name} is not there" if network is None else _labels(f"network {name}", network, want)


def _container(host: Host, want: Condition) -> Optional[str]:
    name = want["name"]
    container = host.containers.get(name)
    if container is None:
        return f"container {name} is not there"
    state, image = container.get("State"), container.get("Image")
    if state != "running":
        return f"container {name} is {state}"
    if want.get("image", image) != image:
        return f"container {name} runs {image}, not {want['image']}"
    return _labels(f"container {name}", container, want) or _older(f"container {name}", container["Created"], want)


def _older(what: str, since: int, want: Condition) -> Optional[str]:
    """Return the first file that was written after something began to run; one that is not there says nothing."""
    for path in want.get("newer_than", []):
        found = _lstat(Path(path))
        if found is not None and int(found.st_mtime) > since:
            return f"{what} is older than {path}"
    return None


def _labels(what: str, found: Dict[str, Any], want: Condition) -> Optional[str]:
    key = differing_key(found.get("Labels") or {}, want.get("labels", {}))
    return None if key is None else f"{what}: label {key} is not as wanted"


# --- ports, and what should not be there ----------------------------------------------------------------------------


def _port(_host: Host, want: Condition) -> Optional[str]:
    try:
        with socket.create_connection(("127.0.0.1", int(want["port"])), timeout=PORT_SECONDS):
            return None
    except OSError:
        return f"nothing answers at port {want['port']}"


def _absent(host: Host, want: Condition) -> Optional[str]:
    path, unit, table, container = (want.get(name) for name in ("path", "unit", "table", "container"))
    if path and _lstat(Path(path)) is not None:
        return f"{path} is there"
    if unit and host.units.get(unit, {}).get("LoadState", "not-found") != "not-found":
        return f"unit {unit} is there"
    if table and output([*NFT_LIST, *table.split()]):
        return f"the firewall's table {table} is there"
    if container and container in host.containers:
        return f"container {container} is there"
    return None


KINDS: Dict[str, Check] = {
    "package": _package,
    "packages_at_rest": _packages_at_rest,
    "file": _file,
    "directory": _directory,
    "swapfile": _swapfile,
    "json": _json,
    "unit": _unit,
    "nftables": _nftables,
    "docker": _docker,
    "network": _network,
    "container": _container,
    "port": _port,
    "absent": _absent,
}
