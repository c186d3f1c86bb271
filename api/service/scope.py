"""The one place where things are looked up by their organization: what is another's is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlmodel import col, select

from api.data.locks import locking
from api.data.tables import Batch, Run, Server, Webhook
from api.errors import Problem
from api.ids import is_id
from api.service.audit import ACTOR, SERVICE, note

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlmodel import Session
    from sqlmodel.sql.expression import SelectOfScalar

    from api.service.audit import Actor, Thing

_Row = TypeVar("_Row", Server, Run, Webhook)


class Scope:
    """What one organization sees, in one transaction."""

    def __init__(self, session: Session, organization: str, actor: Actor = SERVICE) -> None:
        self.session = session
        self.organization = organization
        session.info[ACTOR] = actor

    def note(self, action: str, thing: Thing, changes: Iterable[Mapping[str, Any]] = (), detail: str = "") -> None:
        """Write down in the audit log what is done here."""
        note(self.session, action, thing, organization=self.organization, changes=changes, detail=detail)

    def server(self, name: str, *, lock: bool = False) -> Server:
        """Return a server, or raise `not_found`; with `lock`, nobody else changes it in this transaction."""
        query = self.servers().where(col(Server.id) == name)
        found = self._one(locking(query) if lock else query, name)
        if found is None:
            raise Problem("not_found", "There is no such server.")
        return found

    def run(self, name: str) -> Run:
        """Return a run, or raise `not_found`."""
        found = self._one(self.runs().where(col(Run.id) == name), name)
        if found is None:
            raise Problem("not_found", "There is no such run.")
        return found

    def webhook(self, name: str, *, lock: bool = False) -> Webhook:
        """Return a webhook, or raise `not_found`; with `lock`, nobody else changes it in this transaction."""
        query = self.webhooks().where(col(Webhook.id) == name)
        found = self._one(query.with_for_update(key_share=True) if lock else query, name)
        if found is None:
            raise Problem("not_found", "There is no such webhook.")
        return found

    def webhooks(self) -> SelectOfScalar[Webhook]:
        """Return the query for all webhooks."""
        return select(Webhook).where(col(Webhook.organization_id) == self.organization)

    def servers(self) -> SelectOfScalar[Server]:
        """Return the query for all servers."""
        return select(Server).where(col(Server.organization_id) == self.organization)

    def batches(self) -> SelectOfScalar[Batch]:
        """Return the query for all batches."""
        return select(Batch).where(col(Batch.organization_id) == self.organization)

    def runs(self) -> SelectOfScalar[Run]:
        """Return the query for all runs."""
        return select(Run).where(col(Run.organization_id) == self.organization)

    def _one(self, query: SelectOfScalar[_Row], name: str) -> _Row | None:
        return self.session.exec(query).first() if is_id(name) else None
