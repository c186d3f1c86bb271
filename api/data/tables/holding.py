"""Tables of who holds what: connections to servers, machines, and what only one process may do."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field, SQLModel

from api.data.tables.columns import belongs_to, moment


class Session(SQLModel, table=True):
    """An SSH connection to a server that somebody may have open."""

    __tablename__ = "ssh_session"

    id: str = Field(primary_key=True)
    server_id: str = belongs_to("server")
    until: datetime = moment(nullable=False)


class MachineHold(SQLModel, table=True):
    """What a machine is known by on which a run is at work."""

    __tablename__ = "machine_hold"

    name: str = Field(primary_key=True)
    run_id: str = belongs_to("run", index=True)


class Lead(SQLModel, table=True):
    """Who does what only one process may do at a time."""

    __tablename__ = "lead"

    name: str = Field(primary_key=True)
    owner: str
    until: datetime = moment(nullable=False)
