"""Receipts: one for each time that a worker had a run, written with its end; read also when the server is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col, select

import ocore
from api.data.tables import Receipt, ReceiptKey, Run, RunKind, RunState, Server, StepLog, now, stamp
from api.ids import is_id
from api.schemas.receipts import ReceiptKeyOut, ReceiptKeysOut, ReceiptsOut

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlmodel import Session

    from api.security.signer import Signer
    from api.service.scope import Scope

_VERSION: Final = 1
_INTERRUPTED: Final = "interrupted"
_MESSAGE: Final = 4000
# What the library tells of a run, where nobody was there to hear it.
_UNKNOWN: Final = {"plan": None, "facts": None, "hostKey": None, "isolation": ""}


def write(session: Session, signer: Signer, server: Server, run: Run, evidence: Mapping[str, Any] | None) -> None:
    """Write the receipt of a run that ends now, or goes back to the queue.

    Args:
        session: the transaction that ends the run; it holds the server's row, so that the chain has no fork.
        signer: signs it.
        server: the run's server.
        run: the run, as it is from now on.
        evidence: what the library says of it; None where nobody heard it, such as of a worker that was lost.

    """
    if run.kind == RunKind.DRIFT:  # it changes nothing
        return
    before = _newest(session, server.id)
    receipt = {
        "version": _VERSION,
        "number": before.number + 1 if before else 1,
        "previous": before.digest if before else None,
        "server": {"id": server.id, "name": server.name, "host": server.host, "port": server.port},
        "run": _told(run),
        "startedAt": _stamp(run.started_at),
        "finishedAt": _stamp(run.finished_at or now()),
        **(evidence or {**_made_with(run), **_UNKNOWN, "steps": _logged(session, run, before)}),
    }
    signed = signer.sign("receipt", receipt)
    remember(session, signed["key"])
    session.add(
        Receipt(
            organization_id=server.organization_id,
            server_id=server.id,
            run_id=run.id,
            number=receipt["number"],
            digest=ocore.receipt_digest(receipt),
            signed=signed,
        )
    )


def _made_with(run: Run) -> dict[str, Any]:
    """Return what an attempt was made with, which it was told when it began."""
    known = ocore.tools()
    # A run of an earlier release knows less of it.
    return known | {name: run.basis[name] for name in known if run.basis and name in run.basis}


def remember(session: Session, key: str) -> None:
    """Keep a public key for as long as what it signed."""
    if session.get(ReceiptKey, key) is None:
        # Another worker may be the first to use a new key at this moment, too.
        insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        session.execute(insert(ReceiptKey).values(key=key, created_at=now()).on_conflict_do_nothing())


def _logged(session: Session, run: Run, before: Receipt | None) -> list[dict[str, Any]]:
    """Return the steps of an attempt as the log has them: all since the receipt of the one before."""
    query = select(StepLog).where(col(StepLog.run_id) == run.id).order_by(col(StepLog.id))
    if before is not None and before.run_id == run.id:
        query = query.where(col(StepLog.started_at) > before.created_at)
    return [
        {
            "step": row.step,
            "status": row.status,
            "changed": None,
            "tasks": None,
            "errorCode": "",
            "startedAt": _stamp(row.started_at),
            "finishedAt": _stamp(row.completed_at),
        }
        for row in session.exec(query).all()
    ]


def _told(run: Run) -> dict[str, Any]:
    ended = run.state in {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}
    return {
        "id": run.id,
        "kind": str(run.kind),
        "attempt": run.attempt,
        "outcome": str(run.state) if ended else _INTERRUPTED,
        "errorCode": str(run.error_code),
        "message": run.message[:_MESSAGE],
        "by": run.created_by,
        "force": run.force,
        "steps": list(run.steps),
    }


def _stamp(moment: datetime | None) -> str | None:
    return stamp(moment) if moment else None


def _newest(session: Session, server: str) -> Receipt | None:
    query = select(Receipt).where(col(Receipt.server_id) == server).order_by(col(Receipt.number).desc()).limit(1)
    return session.exec(query).first()


def document(scope: Scope, signer: Signer, name: str, *, after: int, limit: int) -> tuple[ReceiptsOut, int | None]:
    """Return receipts of a server, also of one that is gone, with a statement of how many there are of it altogether.

    Args:
        scope: whose it is.
        signer: signs the statement.
        name: the server's id.
        after: the number of the receipt after which to begin.
        limit: the most receipts to return.

    Returns:
        The document, and the number of its last receipt if there are more after it.

    """
    of_server = col(Receipt.organization_id) == scope.organization, col(Receipt.server_id) == name
    newest = select(Receipt).where(*of_server).order_by(col(Receipt.number).desc()).limit(1)
    last = scope.session.exec(newest).first() if is_id(name) else None
    if last is None:
        scope.server(name)
    # What is written meanwhile is not in the statement, and so not in the document.
    until = *of_server, col(Receipt.number) <= (last.number if last else 0)
    rows = scope.session.exec(
        select(Receipt).where(*until, col(Receipt.number) > after).order_by(col(Receipt.number)).limit(limit + 1)
    ).all()
    stated = {
        "version": _VERSION,
        "server": name,
        "count": scope.session.exec(select(func.count()).select_from(Receipt).where(*until)).one(),
        "last": last.digest if last else None,
        "at": _stamp(now()),
    }
    body = {"receipts": [row.signed for row in rows[:limit]], "statement": signer.sign("statement", stated)}
    return ReceiptsOut.model_validate(body), rows[limit - 1].number if len(rows) > limit else None


def keys(session: Session, signer: Signer) -> ReceiptKeysOut:
    """Return every public key that a receipt may be signed with, oldest first."""
    active = signer.active
    rows = session.exec(select(ReceiptKey).order_by(col(ReceiptKey.created_at))).all()
    found = [ReceiptKeyOut(key=row.key, active=row.key == active, created_at=row.created_at) for row in rows]
    if all(not one.active for one in found):
        found.append(ReceiptKeyOut(key=active, active=True, created_at=None))
    return ReceiptKeysOut(keys=found)
