"""One run: from the first look at the address to the last step's result.

The order is the point: address, host key, pin, and only then credentials. What is started is stopped in every case.
"""

from __future__ import annotations

import base64
import secrets as random
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from ocore import inventory, patience, siteplay
from ocore.errors import ErrorCode, Failure, RecorderError
from ocore.intake.scrub import Scrubber
from ocore.models import RunResult
from ocore.options import ProvisionOptions
from ocore.recorder import NullRecorder
from ocore.runs.drain import drain
from ocore.runs.events import EventParser, Seen
from ocore.runs.ledger import Ledger
from ocore.runs.login import Login, login_order, read_login
from ocore.site import known_steps
from ocore.specs import parse_specs

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from ocore.intake.hostkeys import HostKey
    from ocore.models import Server
    from ocore.recorder import Recorder
    from ocore.sandbox import Isolation
    from ocore.transport import Process, Transport


# The login answers these before Ansible starts.
_ANSWERED: Final = ("connect", "privileges")
# After these something of ours may still be at work on the server.
_STOPPED: Final = frozenset(
    {ErrorCode.CANCELLED, ErrorCode.INTERNAL, ErrorCode.RUN_TIMEOUT, ErrorCode.STEP_TIMEOUT, ErrorCode.WORKER_LOST}
)
_LEFT: Final = (
    "The server did not answer when what the run had started there was to be ended; the next provision or cleanup "
    "ends what is left."
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of run: its playbook and its steps.

    Attributes:
        name: what the result calls it.
        playbook: the file in `playbooks`.
        steps: the steps that have results.
        tags: Ansible's tags, to play only part of the playbook.
        drains: whether left-overs of earlier runs are ended first.
        installs_python: whether a host without Python gets one.
        reads: the steps that are looked at before anything runs.

    """

    name: str
    playbook: str
    steps: tuple[str, ...]
    tags: tuple[str, ...] = ()
    drains: bool = False
    installs_python: bool = False
    reads: tuple[str, ...] = ()


def checked(server: Server, shown: HostKey | Failure) -> HostKey | Failure:
    """Return the key that a server shows, or the failure that it is not the pinned one."""
    pinned = server.host_key
    if pinned is None or isinstance(shown, Failure) or shown == pinned:
        return shown
    return Failure(
        ErrorCode.HOST_KEY_CHANGED,
        f"The host key changed: pinned is {pinned.fingerprint} ({pinned.type}), "
        f"the host shows {shown.fingerprint} ({shown.type}). Nothing was sent to it.",
    )


class Stopped(Exception):  # noqa: N818 - control flow of this module, never seen outside
    """The run cannot go on, for this reason."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass
class Stop:
    """What can stop a run from outside: the caller, and the clock."""

    cancel: threading.Event | None
    timeout: float
    _began: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise Stopped where the run is to stop now."""
        if self.cancel is not None and self.cancel.is_set():
            raise Stopped(Failure(ErrorCode.CANCELLED, "The run was cancelled."))
        if time.monotonic() - self._began > self.timeout:
            raise Stopped(Failure(ErrorCode.RUN_TIMEOUT, f"The run took longer than {self.timeout:.0f} s."))


class Run:
    """One pass over one server."""

    def __init__(
        self,
        kind: Kind,
        server: Server,
        options: ProvisionOptions | None,
        recorder: Recorder | None,
        stop: Stop,
        transport: Transport,
    ) -> None:
        self._kind = kind
        self._server = server
        self._options = options or ProvisionOptions()
        self._recorder = recorder or NullRecorder()
        self._stop = stop
        self._transport = transport
        self._id = uuid.uuid4().hex
        self._scrub = Scrubber(server.secrets)
        self._known = known_steps(self._options.site)
        self._ledger = Ledger(kind.steps, self._recorder, self._known)
        self._key: HostKey | None = None
        self._process: Process | None = None
        self._where = ""
        self._parser = EventParser(random.token_hex(16), tuple(dict.fromkeys((*kind.steps, *kind.reads))), self._scrub)
        self._facts_seen: dict[str, Any] | None = None
        self._isolation: Isolation = "full"

    def go(self, variables: dict[str, Any] | None = None, *, check: bool = False) -> RunResult:
        """Make the run and return how it ended; raise only what the caller's recorder raised."""
        failure: Failure | None = None
        self._ledger.begin(self._kind.steps[0])
        try:
            # Its start takes a moment, and needs nothing that is not known yet.
            self._process = self._transport.start(self._server)
            self._play(self._enter(), variables or {}, check=check)
        except Stopped as stopped:
            failure = stopped.failure
        except Exception as error:  # noqa: BLE001 - a failed run is a value, also where the failure is ours
            words = self._scrub.plain(f"{type(error).__name__}: {error}", 300)
            failure = Failure(ErrorCode.INTERNAL, f"oCore itself failed: {words}.")
        except BaseException:
            self._end(stopped=True)
            raise
        self._end(stopped=failure is not None and failure.code in _STOPPED)
        self._ledger.close(failure)
        if self._ledger.broken:
            raise RecorderError("the recorder raised; the run was stopped") from self._ledger.broken
        return self._result(failure)

    # --- getting in -----------------------------------------------------------------------------------------------

    def _enter(self) -> Login:
        """Reach the server, check its key, log in, become root."""
        with patience.asking(self._stop.check):
            found = self._transport.resolve(self._server, self._options.reach)
            if isinstance(found, Failure):
                raise Stopped(found)
            self._where = found
            self._ledger.tell(lambda recorder: recorder.address_found(found))
            self._stop_if_broken()
            self._stop.check()
            self._key = self._trusted_key()
            self._stop.check()
        whose: Literal["all", "none"] = "all" if self._kind.drains else "none"
        self._order(login_order(self._server, self._where, self._key, self._id, drain=whose))
        answer = next((one for one in self._answers() if one.get("type") == "login"), None)
        if answer is None:
            self._lost()
        login = read_login(answer, self._server, self._key, self._scrub)
        if login.connected:
            self._ledger.finish("connect", f"{login.connected} ({self._key.fingerprint}).")
            self._ledger.begin("privileges")
        if login.failure:
            raise Stopped(login.failure)
        self._ledger.finish("privileges", login.privileges)
        if not login.interpreter and not self._kind.installs_python:
            self._ledger.begin("detect")
            raise Stopped(Failure(ErrorCode.PYTHON_MISSING, "The host has no Python 3 that Ansible can use."))
        return login

    def _trusted_key(self) -> HostKey:
        """Return the server's key if it is the pinned or expected one; no credential has been sent yet."""
        shown = checked(self._server, self._transport.host_key(self._server, self._where))
        if isinstance(shown, Failure):
            raise Stopped(shown)
        self._ledger.tell(lambda recorder: recorder.host_key_seen(shown))
        self._stop_if_broken()
        return shown

    # --- playing --------------------------------------------------------------------------------------------------

    def _play(self, login: Login, variables: dict[str, Any], *, check: bool) -> None:
        self._ledger.begin("detect")
        interpreter = login.interpreter or "/usr/bin/python3"
        values = inventory.connection(self._server, self._where, interpreter=interpreter, become=login.becomes)
        values |= inventory.variables(self._server, self._options) | inventory.secrets(self._server)
        controls = {
            "ocore_bootstrap_python": not login.interpreter,
            "ocore_nonce": self._parser.nonce,
            "ocore_run": self._id,
        }
        self._order(
            {
                "op": "play",
                "playbook": self._kind.playbook,
                "files": self._files(),
                "inventory": inventory.render(values),
                "variables": controls | variables,
                "tags": list(self._kind.tags),
                "check": check,
            }
        )
        for answer in self._answers():
            if answer.get("type") == "event":
                self._take(answer)
            elif answer.get("type") == "gap":
                self._ledger.gap(answer.get("dropped", 1))
            elif answer.get("type") == "end":
                self._conclude(answer)
                return
        self._lost()

    def _files(self) -> dict[str, str]:
        """Return what is played instead of our own playbook, in base64; empty without a site."""
        site = self._options.site
        if site is None or self._kind.playbook != siteplay.NAME:
            return {}
        return {name: base64.b64encode(data).decode() for name, data in siteplay.files(site).items()}

    def _take(self, event: dict[str, Any]) -> None:
        """Act on one event of Ansible's."""
        for seen in self._parser.feed(event):
            self._act(seen)
        if self._parser.facts is not self._facts_seen and self._parser.facts is not None:
            self._facts_seen = self._parser.facts
            specs = parse_specs(self._parser.facts)
            self._ledger.tell(lambda recorder: recorder.facts(specs))
        if self._ledger.idle:
            self._stop_if_broken()

    def _act(self, seen: Seen) -> None:
        """Enter one thing that was seen. A task that failed decides nothing yet: its role may rescue it."""
        if seen.step:
            self._ledger.reach(seen.step, self._parser.reading)
        if seen.kind != "marked":
            self._ledger.event(seen)
            return
        if seen.step == "detect" and self._parser.facts is None:
            words = "The server's facts did not arrive: too large, or there was no room here for this run's files."
            raise Stopped(Failure(ErrorCode.STEP_FAILED, words))
        self._ledger.finish(seen.step, "", self._parser.tallies[seen.step], self._parser.reading)

    def _conclude(self, end: dict[str, Any]) -> None:
        """Decide, from the return code and the markers, how the play ended."""
        if end.get("code") != 0:
            if end.get("code") is None:  # it was killed
                self._lost()
            raise Stopped(self._parser.failure or self._unexplained(end))
        if self._kind.reads and not self._parser.reading.steps:
            raise Stopped(Failure(ErrorCode.INTERNAL, "The server's state was not read."))
        missing = [one for one in self._must_be_marked() if not self._parser.tallies[one].marked]
        if missing:
            words = f"Ansible ended well, but without the marker of: {', '.join(missing)}."
            raise Stopped(Failure(ErrorCode.INTERNAL, words))
        self._ledger.settle(self._parser.reading)

    def _unexplained(self, end: dict[str, Any]) -> Failure:
        """Return why Ansible ended where none of its tasks has said so."""
        if self._parser.complaint:
            return Failure(ErrorCode.INTERNAL, self._parser.complaint)
        if end.get("full"):
            # What would have said so could not be written either.
            return Failure(
                ErrorCode.STEP_FAILED, "There is no room here for this run's files: No space left on device."
            )
        return Failure(ErrorCode.INTERNAL, f"Ansible ended with code {end.get('code')} ({end.get('status')}).")

    def _must_be_marked(self) -> list[str]:
        """Return the steps of this run that are no success without their marker: all but those that were already so."""
        so = set(self._parser.reading.steps) - set(self._parser.reading.due)
        return [one for one in self._kind.steps if one not in so and one not in _ANSWERED]

    # --- the process ----------------------------------------------------------------------------------------------

    def _order(self, order: dict[str, Any]) -> None:
        assert self._process is not None  # noqa: S101 - started before anything else
        self._process.order(order)

    def _answers(self) -> Iterator[dict[str, Any]]:
        """Yield the process's answers; between them, look at the clocks and at the caller's wish."""
        assert self._process is not None  # noqa: S101 - started before anything else
        for answer in self._process.answers():
            self._stop.check()
            late = self._ledger.overdue()
            if late:
                raise Stopped(
                    Failure(
                        ErrorCode.STEP_TIMEOUT, f"The step {late} took longer than {self._known[late].timeout:.0f} s."
                    )
                )
            if answer is not None:
                yield answer

    def _lost(self) -> NoReturn:
        """Say that the process ended without a result."""
        assert self._process is not None  # noqa: S101 - started before anything else
        said = self._scrub(self._process.complaint()).strip().splitlines()
        words = "The process that runs Ansible ended without a result"
        raise Stopped(Failure(ErrorCode.WORKER_LOST, f"{words}: {said[-1][:300]}" if said else f"{words}."))

    def _stop_if_broken(self) -> None:
        if self._ledger.broken is not None:
            raise Stopped(Failure(ErrorCode.CANCELLED, "The recorder raised; the run was stopped."))

    def _end(self, *, stopped: bool) -> None:
        """End the process tree here; where a stop may have left something on the server, end that, too."""
        if self._process is not None:
            self._isolation = self._process.isolation
            self._process.end()
        if not stopped or self._key is None or not self._ledger.began("detect"):
            return
        if not drain(self._transport, self._server, self._where, self._key, self._id):
            self._parser.notes.append(_LEFT)

    def _result(self, failure: Failure | None) -> RunResult:
        return RunResult(
            kind=self._kind.name,
            run_id=self._id,
            status=self._ledger.status(failure),
            steps=self._ledger.results,
            specs=parse_specs(self._parser.facts) if self._parser.facts else None,
            host_key=self._key,
            error=failure,
            isolation=self._isolation,
            notes=tuple(dict.fromkeys(self._parser.notes)),
            reading=tuple(self._parser.first.steps.values()),
        )
