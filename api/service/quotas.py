"""How much an organization may have: servers, and runs that wait.

What is over a quota is refused with 403: it is no matter of pace, and the same request later is refused as well, unless
something was removed or the quota was raised. A run is never refused that a change or a removal needs, or the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func
from sqlmodel import col, select

from api.data.tables import Organization, Run, RunPriority, RunState, Server
from api.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.service.scope import Scope
    from api.settings import Settings


def check_servers(scope: Scope, settings: Settings) -> None:
    """Raise `quota_exceeded` where an organization has all the servers that it may have.

    Others of the organization who create one wait for us: together they cannot have more than one alone.
    """
    query = select(Organization).where(col(Organization.id) == scope.organization).with_for_update(key_share=True)
    own = scope.session.exec(query).one().quota_servers
    most = settings.quota_servers if own is None else own
    count = select(func.count()).select_from(Server).where(col(Server.organization_id) == scope.organization)
    if most and scope.session.exec(count).one() >= most:
        raise Problem("quota_exceeded", f"The organization may have {most} servers, those that are being removed too.")


def check_runs(scope: Scope, settings: Settings, servers: Sequence[str]) -> None:
    """Raise `quota_exceeded` where no more runs of an organization may wait, one for each of these servers.

    A server has one that waits at most: where there is one, another takes its place, or none is queued. Looks that
    nobody asked for do not count. Nobody waits here for others, who may hold servers that we want: requests of one
    moment may go over it by their number.
    """
    own = scope.session.exec(select(Organization.quota_runs).where(col(Organization.id) == scope.organization)).one()
    most = settings.quota_runs if own is None else own
    ours = (col(Run.organization_id) == scope.organization, col(Run.state) == RunState.QUEUED)
    asked = (*ours, col(Run.priority) == RunPriority.ASKED)
    if not most:
        return
    others = col(Run.server_id).not_in(servers)
    waiting = scope.session.exec(select(func.count()).select_from(Run).where(*asked, others)).one()
    if waiting + len(servers) > most:
        raise Problem("quota_exceeded", f"{most} runs of the organization may wait at one time; {waiting} do.")
