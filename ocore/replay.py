"""Servers that are none: a transport that answers every run from recordings, by the host's name.

    service with `ocore serve --replay`, library with `ocore.provision(server, transport=Replay())`

A folder of recordings has a file `replay.json`: for each host its scenario, and `default` for all others.

    first    the recording of a first provisioning; validation, looks and chosen steps are cut out of it
    again    that of a provisioning of a server that is provisioned
    cleanup  that of a removal
    seconds  how long a run takes; it goes on at once without it
    hangs    true: a provisioning never ends by itself
    fails    the code of an error with which every connection fails

What a scenario does not say is as in `default`. A recording is what `ocore.testing.RecordingTransport` writes.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ocore.errors import ConfigError, ErrorCode, Failure
from ocore.intake.hostkeys import HostKey
from ocore.steps import CHANGING
from ocore.testing import NONCE, machine_address, machine_key, with_nonce

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocore.intake.address import Reach
    from ocore.models import Server
    from ocore.sandbox import Isolation
    from ocore.transport import Process

SHIPPED: Final = Path(__file__).parent / "recordings"
FILE: Final = "replay.json"
DEFAULT: Final = "default"
_TICK: Final = 0.05
# The tasks with which the parts of a recording end: what is played of it where that part was asked for.
_ENDS: Final = {"validate": "Mark preflight", "facts": "Mark detect", "look": "Look at what is already so"}
_END: Final = {"type": "end", "code": 0, "status": "successful"}

Answer = dict[str, Any]
Recording = tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a host does; see above."""

    first: str = ""
    again: str = ""
    cleanup: str = ""
    seconds: float = 0.0
    hangs: bool = False
    fails: str = ""


class Replay:
    """Answers runs over any number of servers; which of them are provisioned is known as long as this lives."""

    def __init__(self, folder: Path = SHIPPED) -> None:
        """Read a folder of recordings; those that are shipped where none is named. Raises ConfigError."""
        self._scenarios = _scenarios(folder)
        self._recordings = {name: _recording(folder / name) for name in self._files()}
        self._provisioned: set[str] = set()
        self._lock = threading.Lock()

    def resolve(self, server: Server, allow: Reach) -> str | Failure:  # noqa: ARG002 - nothing is reached
        """Return an address that stands for the host, or how the scenario's connections fail."""
        code = self._scenario(server).fails
        words = "The recordings have every connection to this host fail."
        return Failure(ErrorCode(code), words) if code else machine_address(server.host)

    def host_key(self, server: Server, where: str) -> HostKey | Failure:
        """Return a key of the machine's own: two with the same key would be taken for one."""
        key = machine_key(f"{where} {server.port}")
        if server.host_key is None and server.expected_fingerprint not in {None, key.fingerprint}:
            return Failure(ErrorCode.HOST_KEY_CHANGED, f"The host shows {key.fingerprint}, which is not expected.")
        return key

    def start(self, server: Server) -> Process:
        """Start to play; what is played depends on the orders."""
        scenario = self._scenario(server)
        return _Player(self, server.id, scenario)

    def login(self, scenario: Scenario) -> Answer:
        """Return how a scenario's login goes."""
        return next(one for one in self._recordings[scenario.first] if one.get("type") == "login")

    def play(self, server: str, scenario: Scenario, order: Answer) -> list[Answer]:
        """Return what is answered to an order to play, but for the login, and remember what it makes of the server."""
        variables, playbook = order["variables"], order["playbook"]
        with self._lock:
            known = server in self._provisioned and not variables.get("ocore_force")
            name = scenario.cleanup if playbook == "cleanup" else scenario.again if known else scenario.first
            answers = [one for one in self._recordings[name] if one.get("type") not in {None, "login"}]
            part = "look" if "look" in order["tags"] else playbook
            if part in _ENDS:
                return _until(answers, _ENDS[part])
            steps = variables.get("ocore_steps") or []
            played = _chosen(answers, steps) if steps else answers
            if playbook == "cleanup":
                self._provisioned.discard(server)
            elif not steps and not order["check"] and played[-1].get("code") == 0 and not scenario.hangs:
                self._provisioned.add(server)
            return played

    def _scenario(self, server: Server) -> Scenario:
        return self._scenarios.get(server.host, self._scenarios[DEFAULT])

    def _files(self) -> set[str]:
        return {name for one in self._scenarios.values() for name in (one.first, one.again, one.cleanup)}


def _scenarios(folder: Path) -> dict[str, Scenario]:
    try:
        given = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("replay", f"{folder / FILE} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError("replay", f"{folder / FILE} is not JSON") from None
    if not isinstance(given, dict) or not all(isinstance(one, dict) for one in given.values()):
        raise ConfigError("replay", f"{FILE} must have an object for each host, and one named {DEFAULT}")
    default = given.get(DEFAULT, {})
    return {host: _scenario(host, default | own) for host, own in {DEFAULT: {}, **given}.items()}


def _scenario(host: str, given: dict[str, Any]) -> Scenario:
    known = {one.name: type(one.default) for one in fields(Scenario)}
    for name, value in given.items():
        if name not in known:
            raise ConfigError("replay", f"{FILE}: {host} has {name!r}; there are: {', '.join(known)}")
        if known[name] is float:
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ConfigError("replay", f"{FILE}: {host}: {name} must be a number, not below 0")
        elif not isinstance(value, known[name]):
            raise ConfigError("replay", f"{FILE}: {host}: {name} must be of the type {known[name].__name__}")
    found = Scenario(**given)
    if not (found.first and found.again and found.cleanup):
        raise ConfigError("replay", f"{FILE}: {host} must name a recording for each of first, again and cleanup")
    if found.fails and found.fails not in list(ErrorCode):
        raise ConfigError("replay", f"{FILE}: {host}: there is no error {found.fails!r}")
    return found


def _recording(file: Path) -> Recording:
    """Read a recording, and check that it has what every run needs."""
    try:
        found = tuple(json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
        HostKey.parse(found[0]["host_key"])
        if {"login", "end"} <= {one.get("type") for one in found}:
            return found
    except OSError as error:
        raise ConfigError("replay", f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, AttributeError, TypeError):
        pass
    raise ConfigError("replay", f"{file} is no recording: a line with a host key, a login, events and an end")


def _until(answers: Iterable[Answer], task: str) -> list[Answer]:
    """Return a recording up to the end of a task, with a good end; as it is where it fails before that."""
    found: list[Answer] = []
    for answer in answers:
        found.append(answer)
        if answer.get("event") == "runner_on_ok" and answer.get("task") == task:
            return [*found, _END]
    return found


def _chosen(answers: Iterable[Answer], steps: list[str]) -> list[Answer]:
    """Return a recording without the steps that were not asked for; `verify` stays, as it does in a real run."""
    away = set(CHANGING) - {*steps, "verify"}
    first: dict[str, Any] = {}
    found = []
    for answer in answers:
        if away & {answer.get("role"), *_words(answer)}:
            continue
        result = answer.get("result") or {}
        if "due" not in result or answer.get("role"):
            found.append(answer)
            continue
        # What is not done stays as it was at the first look.
        first = first or {name: one for name, one in result["look"].items() if name in away}
        due = [name for name in result["due"] if name not in away]
        found.append(answer | {"result": result | {"due": due, "look": result["look"] | first}})
    return found


def _words(answer: Answer) -> tuple[str, ...]:
    """Return the step that a task of the playbook itself belongs to: `Step X`, `Mark X`, `Look again after X`."""
    task = str(answer.get("task") or "")
    ours = not answer.get("role") and task.startswith(("Step ", "Mark ", "Look again after "))
    return (task.rpartition(" ")[2],) if ours else ()


class _Player:
    """One process that is none."""

    def __init__(self, replay: Replay, server: str, scenario: Scenario) -> None:
        self.isolation: Isolation = "replayed"
        self._replay = replay
        self._server = server
        self._scenario = scenario
        self._nonce = NONCE
        self._waiting: deque[Answer] = deque()
        self._pause = 0.0
        self._hangs = False
        self._ended = threading.Event()

    def order(self, order: Answer) -> None:
        """Take an order, and make ready what it is answered with."""
        if order["op"] == "login":
            self._waiting.append(self._replay.login(self._scenario))
            return
        self._nonce = order["variables"].get("ocore_nonce", NONCE)
        self._waiting.extend(self._replay.play(self._server, self._scenario, order))
        self._pause = self._scenario.seconds / max(1, len(self._waiting))
        if self._scenario.hangs and order["playbook"] == "provision" and not order["tags"]:
            self._waiting.pop()
            self._hangs = True

    def answers(self) -> Iterator[Answer | None]:
        """Yield what was made ready, and None while time passes."""
        while self._waiting:
            yield from self._paused()
            yield with_nonce(self._waiting.popleft(), NONCE, self._nonce)
        while self._hangs and not self._ended.wait(_TICK):
            yield None

    def _paused(self) -> Iterator[None]:
        until = time.monotonic() + self._pause
        while (left := until - time.monotonic()) > 0:
            self._ended.wait(min(left, _TICK))
            yield None

    def complaint(self) -> str:
        """Return nothing: there is no process that could complain."""
        return ""

    def end(self) -> None:
        """End."""
        self._ended.set()
