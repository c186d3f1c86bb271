"""One run: from the first look at the address to the last step's result.

The order is the point: address, host key, pin, and only then credentials. What is started is stopped in every case.
"""

from __future__ import annotations

import secrets as random
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ocore import inventory, patience
from ocore.drain import drain
from ocore.errors import ErrorCode, Failure, RecorderError
from ocore.events import EventParser, Seen
from ocore.ledger import Ledger
from ocore.login import Login, login_order, read_login
from ocore.models import ProvisionOptions, RunResult
from ocore.recorder import NullRecorder
from ocore.scrub import Scrubber
from ocore.specs import parse_specs
from ocore.steps import BY_NAME

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from ocore.hostkeys import HostKey
    from ocore.models import Server
    from ocore.recorder import Recorder
    from ocore.transport import Process, Transport

_ENDED: Final = {"ok", "changed", "skipped", "failed", "retry", "warning", "started"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of run: its playbook and its steps.

    Attributes:
        name: what the result calls it.
        playbook: the file in `playbooks`.
        steps: the steps that have results.
        tags: Ansible's tags, to play only part of the playbook.
        drains: whether left-overs of earlier runs are ended first.
        reads: further steps that are only looked at.

    """

    name: str
    playbook: str
    steps: tuple[str, ...]
    tags: tuple[str, ...] = ()
    drains: bool = False
    reads: tuple[str, ...] = ()


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
        self._scrub = Scrubber(server.credentials.secrets)
        self._ledger = Ledger(kind.steps, self._recorder)
        self._key: HostKey | None = None
        self._process: Process | None = None
        self._where = ""
        self._parser = EventParser(random.token_hex(16), (*kind.steps, *kind.reads), self._scrub)
        self._facts_seen: dict[str, Any] | None = None

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
        except BaseException:
            self._end(self._kind.drains)
            raise
        self._end(drained=failure is not None and self._ran_on_server(failure))
        self._ledger.close(failure)
        if self._ledger.broken:
            raise RecorderError("the recorder raised; the run was stopped") from self._ledger.broken
        return self._result(failure)

    # --- getting in -----------------------------------------------------------------------------------------------

    def _enter(self) -> Login:
        """Reach the server, check its key, log in, become root."""
        with patience.asking(self._stop.check):
            found = self._transport.resolve(self._server, allow_loopback=self._options.allow_loopback)
            if isinstance(found, Failure):
                raise Stopped(found)
            self._where = found
            self._stop.check()
            self._key = self._trusted_key()
            self._stop.check()
        self._order(login_order(self._server, self._where, self._key, drains=self._kind.drains))
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
        if not login.interpreter and not self._kind.drains:
            self._ledger.begin("detect")
            raise Stopped(Failure(ErrorCode.PYTHON_MISSING, "The host has no Python 3 that Ansible can use."))
        return login

    def _trusted_key(self) -> HostKey:
        """Return the server's key if it is the pinned or expected one; no credential has been sent yet."""
        shown = self._transport.host_key(self._server, self._where)
        if isinstance(shown, Failure):
            raise Stopped(shown)
        pinned = self._server.host_key
        if pinned is not None and shown != pinned:
            raise Stopped(
                Failure(
                    ErrorCode.HOST_KEY_CHANGED,
                    f"The host key changed: pinned is {pinned.fingerprint} ({pinned.type}), "
                    f"the host shows {shown.fingerprint} ({shown.type}). Nothing was sent to it.",
                )
            )
        self._ledger.tell(lambda recorder: recorder.host_key_seen(shown))
        self._stop_if_broken()
        return shown

    # --- playing --------------------------------------------------------------------------------------------------

    def _play(self, login: Login, variables: dict[str, Any], *, check: bool) -> None:
        self._ledger.begin("detect")
        interpreter = login.interpreter or "/usr/bin/python3"
        values = inventory.connection(self._server, self._where, interpreter=interpreter, become=login.becomes)
        values |= inventory.variables(self._server, self._options)
        controls = {
            "ocore_bootstrap_python": not login.interpreter,
            "ocore_nonce": self._parser.nonce,
            "ocore_run": self._id,
        }
        self._order(
            {
                "op": "play",
                "playbook": self._kind.playbook,
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

    def _take(self, event: dict[str, Any]) -> None:
        """Act on one event of Ansible's."""
        for seen in self._parser.feed(event):
            self._act(seen)
        if self._parser.facts is not self._facts_seen and self._parser.facts is not None:
            self._facts_seen = self._parser.facts
            specs = parse_specs(self._parser.facts)
            self._ledger.tell(lambda recorder: recorder.facts(specs))
        self._stop_if_broken()

    def _act(self, seen: Seen) -> None:
        if seen.kind == "marked":
            if seen.step == "detect" and self._parser.facts is None:
                raise Stopped(Failure(ErrorCode.STEP_FAILED, "The server's facts did not arrive, or were too large."))
            self._ledger.finish(seen.step, "", self._parser.tallies[seen.step], self._parser.reading)
            return
        if seen.step and seen.kind == "started":
            self._ledger.reach(seen.step, self._parser.reading)
        if seen.kind in _ENDED:
            self._ledger.event(seen)
        if seen.kind in {"failed", "unreachable"}:
            tally = self._parser.tallies.get(seen.step)
            if tally is not None and tally.failure is not None:
                self._ledger.reach(seen.step, self._parser.reading)
                raise Stopped(tally.failure)

    def _conclude(self, end: dict[str, Any]) -> None:
        """Decide, from the return code and the markers, how the play ended."""
        if end.get("code") != 0:
            words = self._parser.complaint or f"Ansible ended with code {end.get('code')} ({end.get('status')})."
            raise Stopped(Failure(ErrorCode.INTERNAL, words))
        due = set(self._parser.reading.due) if not self._kind.reads else set()
        must = [*(one for one in self._kind.steps if BY_NAME[one].validates or one == "cleanup"), *due]
        missing = [one for one in must if one not in {"connect", "privileges"} and not self._parser.tallies[one].marked]
        if missing:
            words = f"Ansible ended well, but without the marker of: {', '.join(missing)}."
            raise Stopped(Failure(ErrorCode.INTERNAL, words))
        if self._kind.reads and not self._parser.reading.steps:
            raise Stopped(Failure(ErrorCode.INTERNAL, "The server's state was not read."))
        self._ledger.settle(self._parser.reading)

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
                    Failure(ErrorCode.STEP_TIMEOUT, f"The step {late} took longer than {BY_NAME[late].timeout:.0f} s.")
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

    def _ran_on_server(self, failure: Failure) -> bool:
        """Tell whether something of ours may still be at work on the server."""
        return self._ledger.began("detect") and failure.code in {
            ErrorCode.CANCELLED,
            ErrorCode.RUN_TIMEOUT,
            ErrorCode.STEP_TIMEOUT,
            ErrorCode.WORKER_LOST,
        }

    def _end(self, drained: bool) -> None:  # noqa: FBT001 - private
        """End the process tree here; where something may be left on the server, end that, too."""
        isolation = self._process.isolation if self._process else "full"
        if self._process is not None:
            self._process.end()
        self._isolation = isolation
        if drained and self._key is not None and self._where:
            drain(self._transport, self._server, self._where, self._key)

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
            reading=tuple(self._parser.reading.steps.values()),
        )
