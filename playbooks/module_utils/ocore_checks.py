"""Checking by use that a server does what it should: each check returns what is wrong, in sentences.

On purpose not by the ways in which the roles do their work or `ocore_look` looks at it: these talk to the proxy, let
Docker run a container, and ask systemd. A check gets what is expected, and something that asks the server.
"""

from __future__ import annotations

import http.client
import json
import time
from typing import Any, Callable, Dict, List, NamedTuple

from ansible.module_utils.ocore_commands import output
from ansible.module_utils.ocore_docker import DockerSocket, DockerUnavailable
from ansible.module_utils.ocore_marker import server_id
from ansible.module_utils.ocore_text import plain, read_text
from ansible.module_utils.ocore_versions import at_least

Expected = Dict[str, Any]

HTTP_SECONDS = 5.0
CONTAINER_SECONDS = 60.0
MAX_PAGE = 64 * 1024
TCP_PORT = {"payload": {"protocol": "tcp", "field": "dport"}}
LABELS = {"sh.ocore.managed": "true"}
# Of the throw-away container: by its name the next run finds one that a killed run has left.
CONTAINER = "ocore-verify"


class Answer(NamedTuple):
    """What answers on port 80; the status is 0 where nothing does, and `server` says why."""

    status: int
    server: str


class Server:
    """The server, as one who uses it meets it."""

    def __init__(self) -> None:
        """Find Docker on its usual socket."""
        self.docker = DockerSocket(timeout=CONTAINER_SECONDS)

    def page(self) -> Answer:
        """Ask the proxy for its page."""
        connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=HTTP_SECONDS)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read(MAX_PAGE)
            return Answer(response.status, plain(response.getheader("Server") or ""))
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, plain(error or type(error).__name__))
        finally:
            connection.close()

    def unit_state(self, name: str) -> str:
        """Return whether systemd runs a unit: `active`, or another word."""
        return output(["systemctl", "show", "--property=ActiveState", "--value", "--", name]).strip() or "unknown"

    def unit_user(self, name: str) -> str:
        """Return the number of the user as whom a unit's program runs; nothing where none runs."""
        number = output(["systemctl", "show", "--property=MainPID", "--value", "--", name]).strip()
        words = read_text(f"/proc/{number}/status").partition("\nUid:")[2].split()
        return words[0] if words else ""

    def unfinished_packages(self) -> bool:
        """Tell whether dpkg has packages that are not wholly installed."""
        return bool(output(["dpkg", "--audit"]).strip())

    def input_chain(self) -> Dict[str, Any]:
        """Return the policy of the firewall's input chain, and the ports that it accepts; nothing without one."""
        return parse_chain(output(["nft", "--json", "list", "chain", "inet", "ocore", "input"]))

    def marker(self) -> str:
        """Return the server's id as its marker file tells it; `none` without such a file."""
        found = server_id()
        return "none" if found is None else found


def parse_chain(text: str) -> Dict[str, Any]:
    """Return the policy and the TCP ports of what `nft --json list chain` prints."""
    try:
        parts = json.loads(text)["nftables"]
    except (KeyError, TypeError, ValueError):
        return {}
    chains = [part["chain"] for part in parts if "chain" in part]
    rules = [part["rule"]["expr"] for part in parts if "rule" in part]
    accepting = [one["match"] for rule in rules if {"accept": None} in rule for one in rule if "match" in one]
    rights = [match["right"] for match in accepting if match["left"] == TCP_PORT]
    ports = [port for right in rights for port in (right.get("set", []) if isinstance(right, dict) else [right])]
    return {"policy": chains[0].get("policy") if chains else None, "ports": ports}


def packages(_expected: Expected, server: Server) -> List[str]:
    """Check that no package is half installed."""
    return ["some packages are only half installed (`dpkg --audit` names them)"] if server.unfinished_packages() else []


def swap(expected: Expected, server: Server) -> List[str]:
    """Check that the swap file is in use."""
    return _unit(expected["swap"], server) if expected["swap"] else []


def security(expected: Expected, server: Server) -> List[str]:
    """Check that the kernel refuses what comes in unless it is named, and that SSH is named."""
    if not expected["ssh_ports"]:
        return []
    chain = server.input_chain()
    wrong = [] if chain.get("policy") == "drop" else ["the firewall lets in what no rule is about"]
    closed = [str(port) for port in expected["ssh_ports"] if port not in chain.get("ports", [])]
    return wrong + ([f"the firewall does not name SSH's port {', '.join(closed)}"] if closed else [])


def docker(expected: Expected, server: Server) -> List[str]:
    """Check that Docker runs, in a good version, and works by its configuration (and not only that it is written)."""
    version = str((server.docker.get("/version") or {}).get("Version", ""))
    info = server.docker.get("/info") or {}
    wrong = [
        f"Docker's {name} is {plain(info.get(name))}, not {value}"
        for name, value in expected["docker_info"].items()
        if info.get(name) != value
    ]
    if not at_least(version, expected["docker_minimum_version"]):
        wrong.append(f"Docker is {plain(version)}, older than {expected['docker_minimum_version']}")
    return wrong + _unit("docker.service", server)


def runtime(expected: Expected, server: Server) -> List[str]:
    """Check that the marker names this server, and that the network is there."""
    wrong, found = [], server.marker()
    if found == "none" or (expected["server_id"] and found != expected["server_id"]):
        wrong.append(f"the marker file names the server {found}, not {expected['server_id'] or 'any'}")
    if server.docker.get("/networks/" + expected["network"]) is None:
        wrong.append(f"Docker has no network {expected['network']}")
    return wrong


def proxy(expected: Expected, server: Server) -> List[str]:
    """Check that the proxy answers as the program that it should be, and that its image runs in the network."""
    if expected["proxy"]["kind"] == "none":
        return []
    wrong = _unit(expected["proxy"]["unit"], server)
    status, name = server.page()
    if status == 0:
        wrong.append(f"nothing answers on port 80 ({name})")
    elif status >= http.client.INTERNAL_SERVER_ERROR:
        wrong.append(f"port 80 answers with status {status}")
    elif not name.lower().startswith(expected["proxy"]["kind"]):
        wrong.append(f"{name or 'something without a name'} answers on port 80, not {expected['proxy']['kind']}")
    return wrong + _container(server.docker, expected)


def agent(expected: Expected, server: Server) -> List[str]:
    """Check that the agent runs, if one is wanted, and not as root; that it reaches the service is seen there."""
    name = expected["agent"]["unit"]
    if not name:
        return []
    wrong = _unit(name, server)
    return wrong or (["the agent runs as root"] if server.unit_user(name) == "0" else [])


def _unit(name: str, server: Server) -> List[str]:
    state = server.unit_state(name)
    return [] if state == "active" else [f"the unit {name} is {state}"]


def _container(docker_socket: DockerSocket, expected: Expected) -> List[str]:
    """Let a throw-away container of the proxy's image run a command, in the network of the applications."""
    _remove_left_over(docker_socket)
    image = expected["proxy"]["image"]
    body = {
        "Image": image,
        "Cmd": expected["proxy"]["command"],
        "Labels": LABELS,
        "HostConfig": {"NetworkMode": expected["network"]},
    }
    status, answer = docker_socket.post(f"/containers/create?name={CONTAINER}", body)
    if status != http.client.CREATED:
        return [f"no container of {image} can be made: {_message(answer, status)}"]
    try:
        return _run(docker_socket, f"/containers/{answer['Id']}", image)
    finally:
        docker_socket.delete(f"/containers/{answer['Id']}?force=1&v=1")


def _remove_left_over(docker_socket: DockerSocket) -> None:
    left = docker_socket.get(f"/containers/{CONTAINER}/json")
    if left is not None and LABELS.items() <= (left["Config"].get("Labels") or {}).items():
        docker_socket.delete(f"/containers/{left['Id']}?force=1&v=1")


def _run(docker_socket: DockerSocket, container: str, image: str) -> List[str]:
    status, answer = docker_socket.post(f"{container}/start")
    if status != http.client.NO_CONTENT:
        return [f"a container of {image} does not start: {_message(answer, status)}"]
    _, ended = docker_socket.post(f"{container}/wait")
    code = ended.get("StatusCode") if isinstance(ended, dict) else None
    return [] if code == 0 else [f"a container of {image} ended with code {plain(code)}"]


def _message(answer: Any, status: int) -> str:
    return plain(answer.get("message") if isinstance(answer, dict) else f"status {status}")


CHECKS: Dict[str, Callable[[Expected, Server], List[str]]] = {
    "packages": packages,
    "swap": swap,
    "security": security,
    "docker": docker,
    "runtime": runtime,
    "proxy": proxy,
    "agent": agent,
}


def wrong_in(steps: List[str], expected: Expected, server: Server) -> List[str]:
    """Return what is wrong in the results of some steps. Never raises."""
    wrong = []
    for step in steps:
        try:
            wrong += CHECKS[step](expected, server)
        except DockerUnavailable as error:
            wrong.append(f"{step}: {error}")
        except Exception as error:  # noqa: BLE001 - what nobody thought of is wrong as well, and is to be named
            wrong.append(f"{step} cannot be checked: {type(error).__name__}: {error}")
    return list(dict.fromkeys(plain(one) for one in wrong))


def wrong_after(steps: List[str], expected: Expected, server: Server, patience: float) -> List[str]:
    """Return what is still wrong after some seconds: what a step has just restarted may need a moment."""
    until = time.monotonic() + patience
    wrong = wrong_in(steps, expected, server)
    while wrong and time.monotonic() < until:
        time.sleep(1)
        wrong = wrong_in(steps, expected, server)
    return wrong
