"""The debug bundle of a run: what it was told, what it was made with, and what it told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlmodel import col, select

import ocore
from api.data.tables import Event, StepLog
from api.service import mapping

if TYPE_CHECKING:
    from api.data.tables import Run, Server
    from api.service.scope import Scope
    from api.settings import Settings

# The newest events: a run that failed tells why at its end.
_MOST_EVENTS: Final = 20_000
# People write there what they like.
_FREE_TEXT: Final = {"description"}


def bundle(scope: Scope, settings: Settings, name: str) -> tuple[str, bytes]:
    """Return the bundle of a run, and the name of its file. Secrets stay sealed: none is needed for it.

    A site's roles are the service's, with whatever secrets they have, and not the organizations'.
    """
    run = scope.run(name)
    server = scope.server(run.server_id)
    known = mapping.known_server(server)
    login: Literal["key", "password"] = "key" if server.auth_method == "key" else "password"
    told = ocore.DebugRun(
        run.id,
        kind=run.kind,
        login=login,
        steps=run.steps,
        force=run.force,
        basis=run.basis,
        record={
            "run.json": _json(_about(run, server, settings)),
            "steps.json": _json(_steps(scope, run)),
            "events.jsonl": _events(scope, run),
        },
    )
    packed = ocore.debug_bundle(known, told, settings.options(server.proxy_type), site_roles=False)
    return f"ocore-debug-{run.id}.tar.gz", packed


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _about(run: Run, server: Server, settings: Settings) -> dict[str, Any]:
    shown = mapping.server_detail(server, settings).model_dump(mode="json", exclude=_FREE_TEXT)
    # The bundle reaches the server as it is now.
    changed = server.generation != run.generation
    return {"run": mapping.run_out(run).model_dump(mode="json"), "server": shown, "connectionChangedSince": changed}


def _steps(scope: Scope, run: Run) -> list[dict[str, Any]]:
    query = select(StepLog).where(col(StepLog.run_id) == run.id).order_by(col(StepLog.id))
    return [mapping.log_out(row).model_dump(mode="json") for row in scope.session.exec(query).all()]


def _events(scope: Scope, run: Run) -> str:
    """Return one line for each event, the oldest first."""
    newest = select(Event).where(col(Event.run_id) == run.id).order_by(col(Event.number).desc()).limit(_MOST_EVENTS)
    rows = [
        {"number": row.number, "type": row.type, "at": row.at.isoformat(), **row.data}
        for row in scope.session.exec(newest).all()
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in reversed(rows))
