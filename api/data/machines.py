"""One run at a time on a machine, whichever servers lead to it: two organizations may have the same one.

A machine is known by where it is (address and port, as the server names it and as it was last resolved to) and by the
host key that it shows. A run holds all of these names while it goes on; a hold of a run that does not is none.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from sqlalchemy import String, cast, delete, literal, text
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from api.data.tables import MachineHold, Run, RunState, Server

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlmodel import Session

WAITS = "Waiting for the end of another run on the same machine."
_TAKE = text("INSERT INTO machine_hold (name, run_id) VALUES (:name, :run) ON CONFLICT (name) DO NOTHING")


def plain(address: str) -> str:
    """Return an address as all spellings of it are: an IPv4 address inside an IPv6 one is the IPv4 one."""
    found = ipaddress.ip_address(address)
    inner = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(inner or found)


def at(host: str, port: int) -> str:
    """Return the name of a machine by where it is."""
    return f"at {host} {port}"


def names(server: Server) -> list[str]:
    """Return everything that the machine of a server is known by."""
    found = {at(server.host, server.port)}
    if server.address:
        found.add(at(server.address, server.port))
    if server.shown_key:
        found.add(server.shown_key)
    return sorted(found)


def taken() -> ColumnElement[bool]:
    """Return the condition on a server that the run of another one is at work on its machine."""
    other = aliased(Run)
    port = cast(col(Server.port), String)
    place = [literal("at ") + host + literal(" ") + port for host in (col(Server.host), col(Server.address))]
    query = select(MachineHold.name).join(other, col(other.id) == col(MachineHold.run_id))
    query = query.where(col(other.state) == RunState.RUNNING, col(other.server_id) != col(Server.id))
    return query.where(col(MachineHold.name).in_([*place, col(Server.shown_key)])).exists()


def is_taken(session: Session, server: str) -> bool:
    """Tell whether the run of another server is at work on the machine of this one."""
    return session.exec(select(Server.id).where(col(Server.id) == server, taken())).first() is not None


def hold(session: Session, run: str, known: list[str]) -> bool:
    """Take a machine for a run, by all that it is known by; False where another run has it."""
    going = select(Run.id).where(col(Run.state) == RunState.RUNNING)
    old = delete(MachineHold).where(col(MachineHold.name).in_(known), col(MachineHold.run_id).not_in(going))
    session.execute(old)
    # In one order, so that two who take the same machine never wait for each other in a circle.
    for name in sorted(known):
        session.execute(_TAKE, {"name": name, "run": run})
        holder = session.exec(select(MachineHold.run_id).where(col(MachineHold.name) == name)).first()
        if holder != run:
            return False
    return True


def keep_only(session: Session, run: str, known: list[str]) -> None:
    """Give back what a run holds by names that turned out to be another machine's, or nobody's."""
    held = col(MachineHold.run_id) == run
    session.execute(delete(MachineHold).where(held, col(MachineHold.name).not_in(known)))


def let_go(session: Session, run: str) -> None:
    """Give back what a run holds."""
    session.execute(delete(MachineHold).where(col(MachineHold.run_id) == run))
