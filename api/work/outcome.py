"""What the end of a run means for its server: one transaction, and only if the run is still ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlmodel import col, select

import ocore
from api.data import machines
from api.data.database import clock
from api.data.locks import lock_server
from api.data.tables import Run, RunKind, RunState, Server, ServerStatus, StepLog, now
from api.logs import log
from api.service import batching, receipts
from api.service.queueing import end, enqueue, waiting
from api.work import sessions
from api.work.recorder import held_run

if TYPE_CHECKING:
    from sqlmodel import Session

    from api.parts import Parts
    from api.settings import Settings
    from api.work.claims import Claim
    from api.work.recorder import RowRecorder

HANDOVER: Final = "handover"
# How long after a clean-up that failed the next one begins.
_LATER: Final = timedelta(seconds=15)
_REASONS: Final = {
    "superseded": "Stopped, since the connection was changed.",
    "removed": "Stopped, since the server is being removed.",
    "cancelled": "Cancelled.",
}
_LONGEST_MS: Final = 2**31 - 1  # what the column holds
_log = log(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """How a run ended, whatever kind it was."""

    failure: ocore.Failure | None = None
    notes: tuple[str, ...] = ()
    isolation: str = ""
    result: dict[str, Any] | None = None
    occupied: bool = False  # by another run, which is at work on the same machine
    evidence: dict[str, Any] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether it was stopped because somebody wanted it."""
        return self.failure is not None and self.failure.code is ocore.ErrorCode.CANCELLED


def finish(parts: Parts, claim: Claim, recorder: RowRecorder, done: Done, reason: str) -> bool:
    """Write down how a run ended, and what follows; False where it was not ours any more."""
    with recorder.closing(), parts.database.write() as session:
        server = lock_server(session, claim.server.id)
        run = held_run(session, claim)
        if run is None or server is None:
            return False
        sessions.give_back(session, run.id)
        close_steps(session, run.id, machines.WAITS if done.occupied else "The run ended.")
        run.isolation, run.result = done.isolation, done.result
        put_off = False
        if done.cancelled and reason == HANDOVER:
            give_up(session, server, run, "Handed over: its worker was stopped.", counts=False)
        elif done.occupied:
            give_up(session, server, run, machines.WAITS, counts=False)
        elif _is_worth_another_try(session, run, done, parts.settings):
            put_off = True
            _put_off(session, server, run, done)
        else:
            _conclude(session, parts.settings, server, run, done, reason)
        batching.ended(session, run)
        machines.let_go(session, run.id)  # after the batch: see locks.py
        recorder.write_last(session, run)
        # Where it was occupied, nothing was done to the server; what was put off is told when it was tried last.
        if not done.occupied and not put_off:
            receipts.write(session, parts.signer, server, run, done.evidence)
        session.add(run)
        session.add(server)
        if _is_gone(run):
            _log.info("server removed", server=server.id, host=server.host, why=run.message)
            server.status_message = run.message
            session.delete(server)
    return True


def _conclude(session: Session, settings: Settings, server: Server, run: Run, done: Done, reason: str) -> None:
    if done.failure is None:
        end(run, RunState.SUCCEEDED, "; ".join(done.notes) or "Done.")
    elif done.cancelled:
        end(run, RunState.CANCELLED, _REASONS.get(reason, done.failure.message), done.failure.code)
    else:
        end(run, RunState.FAILED, str(done.failure), done.failure.code)
    if server.generation == run.generation:
        _affect(session, settings, server, run, done)


def _affect(session: Session, settings: Settings, server: Server, run: Run, done: Done) -> None:
    """Change the server, whose present state the run is about."""
    server.updated_at = now()
    if done.failure is None and run.kind != RunKind.CLEANUP:
        server.last_seen_at, server.misses = now(), 0
    if run.kind in {RunKind.DRIFT, RunKind.CLEANUP}:
        return
    if done.failure is not None:
        failed(server, run, done.failure)
    elif server.provisioned or (run.kind == RunKind.PROVISION and not run.steps):
        server.provisioned = True
        server.status, server.status_message, server.status_code = ServerStatus.ACTIVE, "; ".join(done.notes), ""
    elif run.kind == RunKind.PROVISION:
        server.status, server.status_code = ServerStatus.ERROR, ""
        server.status_message = f"Done: {', '.join(run.steps)}. The server is not provisioned as a whole; retry it."
    elif settings.hold_after_validation:
        server.status = ServerStatus.PENDING
        server.status_message = "Validated. It waits to be provisioned: POST /servers/{id}/runs begins it."
    else:
        server.status, server.status_message = ServerStatus.PENDING, "Validated; waiting for a worker to provision it."
        if waiting(session, server) is None:
            enqueue(session, server, RunKind.PROVISION, run.created_by)


def set_error(server: Server, failure: ocore.Failure) -> None:
    """Let a server show why it does not work."""
    server.status, server.status_message = ServerStatus.ERROR, str(failure)
    server.status_code = failure.code


def failed(server: Server, run: Run, failure: ocore.Failure) -> None:
    """Let a server show that a run which is about it has failed: after half a provisioning it counts as a bare one."""
    server.provisioned = server.provisioned and run.kind != RunKind.PROVISION
    set_error(server, failure)


def _is_worth_another_try(session: Session, run: Run, done: Done, settings: Settings) -> bool:
    """Tell whether a clean-up may succeed later: the server may be starting anew, or somebody installs something."""
    if run.kind != RunKind.CLEANUP or done.failure is None or not done.failure.retryable:
        return False
    return clock(session) < run.created_at + timedelta(seconds=settings.cleanup_timeout)


def _put_off(session: Session, server: Server, run: Run, done: Done) -> None:
    """Put a clean-up back into the queue, for a little later."""
    run.state, run.message, run.start_after = RunState.QUEUED, str(done.failure), clock(session) + _LATER
    run.fence += 1
    run.lease_owner, run.lease_until, run.attempt = "", None, run.attempt - 1
    server.status_message = f"Not cleaned up yet, it is tried again. {done.failure}"
    server.updated_at = now()


def give_up(session: Session, server: Server, run: Run, words: str, *, counts: bool) -> None:
    """Put a run back whose worker cannot go on; another one goes on at the first step that is not so.

    Args:
        session: the transaction.
        server: its server, locked.
        run: the run.
        words: why.
        counts: whether this was one of its attempts.

    """
    run.fence += 1
    run.lease_owner, run.lease_until = "", None
    if run.cancel_reason or waiting(session, server) is not None:
        end(run, RunState.CANCELLED, _REASONS.get(run.cancel_reason, "Replaced by a newer run."))
        if server.generation == run.generation and run.kind not in {RunKind.DRIFT, RunKind.CLEANUP}:
            if run.cancel_reason == "cancelled":
                failed(server, run, ocore.Failure(ocore.ErrorCode.CANCELLED, "The run was cancelled."))
            else:
                server.status, server.status_message = ServerStatus.PENDING, "Waiting for a worker."
        return
    run.state, run.message = RunState.QUEUED, words
    run.attempt -= 0 if counts else 1
    if run.kind not in {RunKind.DRIFT, RunKind.CLEANUP} and server.generation == run.generation:
        server.status, server.status_message = ServerStatus.PENDING, f"{words} Waiting for another worker."


def close_steps(session: Session, run: str, words: str) -> None:
    """Close the rows of steps that nobody closes any more: every step that began also ends."""
    moment = now()
    query = select(StepLog).where(col(StepLog.run_id) == run, col(StepLog.completed_at).is_(None))
    for row in session.exec(query).all():
        row.status, row.message, row.completed_at = "failed", words, moment
        # A clock may have jumped meanwhile.
        row.duration_ms = min(max(0, round((moment - row.started_at).total_seconds() * 1000)), _LONGEST_MS)
        session.add(row)


def _is_gone(run: Run) -> bool:
    """Tell whether the server goes with this run: a clean-up that failed is no reason to keep it."""
    return run.kind == RunKind.CLEANUP and run.state in {RunState.SUCCEEDED, RunState.FAILED}
