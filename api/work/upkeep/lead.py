"""What only one process may do at a time: it leads as long as it says so, and another takes over when it is silent."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from api.data.database import clock
from api.data.tables import Lead
from api.work.owner import is_dead, is_over

if TYPE_CHECKING:
    from api.data.database import Database


def leads(database: Database, name: str, owner: str, seconds: float) -> bool:
    """Tell whether this process leads, and goes on leading for a time; take the lead where nobody has it."""
    try:
        with database.write() as session:
            moment = clock(session)
            lead = session.get(Lead, name, with_for_update=True)
            if lead is None:
                session.add(Lead(name=name, owner=owner, until=moment + timedelta(seconds=seconds)))
                return True
            if lead.owner != owner and not is_over(lead.until, moment, seconds) and not is_dead(lead.owner):
                return False
            lead.owner, lead.until = owner, moment + timedelta(seconds=seconds)
            session.add(lead)
            return True
    except IntegrityError:  # another process was faster
        return False
