"""Carrying out one run: a row becomes the library's values, and what the library returns becomes rows again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ocore
from api.data.locks import lock_server
from api.data.tables import RunKind
from api.logs import log
from api.security.seal import KeyMissing
from api.service import agents
from api.service.mapping import key_missing, library_server
from api.work.claims import holds
from api.work.outcome import Done
from api.work.recorder import Fenced, Occupied, Overtaken

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from api.parts import Parts
    from api.work.claims import Claim
    from api.work.recorder import RowRecorder

_VALIDATE_SECONDS = 900.0
_OF_THE_AGENT = frozenset({RunKind.PROVISION, RunKind.DRIFT})
_log = log(__name__)


def carry_out(
    parts: Parts, claim: Claim, recorder: RowRecorder, cancel: threading.Event, transport: Any = None
) -> Done | None:
    """Make the run; None where it is not ours any more."""
    try:
        server = _server(parts, claim)
        if isinstance(server, ocore.Failure):
            return Done(server)
        recorder.hands_on(server.agent_token)
        with_what = {"recorder": recorder, "cancel": cancel, "transport": transport}
        done = _KINDS[RunKind(claim.run.kind)](parts, claim, server, with_what)
        return replace(done, notes=(*done.notes, *recorder.notes))
    except Fenced:
        return None
    except ocore.RecorderError as error:
        return _stopped(error)
    except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the rest goes on
        _log.exception("a run failed in a way that was not expected")
        return Done(_internal("oCore itself failed; its log tells more."))


def _server(parts: Parts, claim: Claim) -> ocore.Server | ocore.Failure:
    try:
        token = _agent_token(parts, claim)
    except KeyMissing as missing:
        return key_missing(missing)
    return library_server(claim.server, parts.seal, token)


def _agent_token(parts: Parts, claim: Claim) -> str | None:
    """Return the token of the server's agent, for a run that has to do with it; a forced one brings a new token."""
    run = claim.run
    if not parts.settings.agent_url or run.kind not in _OF_THE_AGENT:
        return None
    if run.kind == RunKind.DRIFT:
        # A look makes none. Where there is none, it compares with one of nobody's: provisioning would bring another.
        return agents.known_token(claim.server, parts.seal) or agents.new_token()
    anew = run.force and (not run.steps or "agent" in run.steps)
    with parts.database.write() as session:
        server = lock_server(session, claim.server.id)
        # Another worker has the run, and may have brought its token already: ours would make that one worthless.
        if not holds(session, claim):
            raise Fenced
        # A run that was overtaken is about another machine; it is stopped before it gets there.
        if server is None or server.generation != run.generation:
            return None
        return agents.token_for(session, server, parts.seal, anew=anew)


def _stopped(error: ocore.RecorderError) -> Done | None:
    """Return what it means that our recorder stopped the run."""
    if isinstance(error.__cause__, Fenced):
        return None
    if isinstance(error.__cause__, Overtaken):
        return Done(ocore.Failure(ocore.ErrorCode.CANCELLED, "Stopped, since the connection was changed."))
    if isinstance(error.__cause__, Occupied):
        return Done(occupied=True)
    _log.error("the progress of a run could not be written", error=repr(error.__cause__))
    return Done(_internal("The run's progress could not be written."))


def _internal(words: str) -> ocore.Failure:
    return ocore.Failure(ocore.ErrorCode.INTERNAL, words)


def _of(server: ocore.Server, options: ocore.ProvisionOptions, result: ocore.RunResult) -> Done:
    evidence = ocore.evidence(server, options, result)
    return Done(result.error, result.notes, result.isolation, evidence=evidence)


def _provision(parts: Parts, claim: Claim, server: ocore.Server, with_what: dict[str, Any]) -> Done:
    options = parts.settings.options(claim.server.proxy_type)
    run = claim.run
    limit = parts.settings.run_timeout
    result = ocore.provision(server, options, steps=run.steps, force=run.force, timeout=limit, **with_what)
    return _of(server, options, result)


def _validate(parts: Parts, claim: Claim, server: ocore.Server, with_what: dict[str, Any]) -> Done:
    options = parts.settings.options(claim.server.proxy_type)
    return _of(server, options, ocore.validate(server, options, timeout=_VALIDATE_SECONDS, **with_what))


def _drift(parts: Parts, claim: Claim, server: ocore.Server, with_what: dict[str, Any]) -> Done:
    options = parts.settings.options(claim.server.proxy_type)
    try:
        plan = ocore.plan(server, options, timeout=_VALIDATE_SECONDS, **with_what)
    except ocore.RunFailed as failed:
        return _of(server, options, failed.result)
    due = [step.step for step in plan.steps if step.run and step.reasons != ("validation always runs",)]
    words = f"Drifted: {', '.join(due)}." if due else "Nothing drifted."
    return Done(notes=(words,), result=plan.to_dict() | {"hash": plan.hash})


def _cleanup(parts: Parts, claim: Claim, server: ocore.Server, with_what: dict[str, Any]) -> Done:
    if not claim.server.touched:
        return Done(notes=("Nothing was ever changed on it, so there was nothing to clean up.",))
    options = parts.settings.options(claim.server.proxy_type)
    result = ocore.cleanup(server, options, timeout=parts.settings.cleanup_timeout, **with_what)
    return _of(server, options, result)


_KINDS: dict[RunKind, Callable[[Parts, Claim, ocore.Server, dict[str, Any]], Done]] = {
    RunKind.PROVISION: _provision,
    RunKind.VALIDATE: _validate,
    RunKind.DRIFT: _drift,
    RunKind.CLEANUP: _cleanup,
}
