"""What must be so of a service's rows whatever has happened to it: nothing is half written, and everything ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tests.service.support import wait_for

if TYPE_CHECKING:
    from tests.e2e.served import Served

# Each finds what must not be.
ALWAYS: Final = {
    "a server without a run": "SELECT id FROM server WHERE id NOT IN (SELECT server_id FROM run)",
    "a server without an entry in the audit log": "SELECT id FROM server WHERE id NOT IN "
    "(SELECT server_id FROM audit_entry WHERE action = 'server.create')",
    "two runs of a server at one time": "SELECT server_id FROM run WHERE state = 'running' "
    "GROUP BY server_id HAVING count(*) > 1",
    "an open step of a run that does not go on": "SELECT step_log.id FROM step_log JOIN run ON run.id = run_id "
    "WHERE completed_at IS NULL AND state <> 'running'",
    "a hole in what a run said": "SELECT run_id FROM event GROUP BY run_id "
    "HAVING max(number) <> count(*) OR min(number) <> 1",
}
QUIET: Final = {
    "a run that has no end": "SELECT id, state, message FROM run WHERE finished_at IS NULL",
    "a connection that nobody gave back": "SELECT id FROM ssh_session WHERE id NOT LIKE 'probe-%'",
    "a machine that nobody gave back": "SELECT name FROM machine_hold",
    "a server between two states": "SELECT id, status, status_message FROM server "
    "WHERE status NOT IN ('active', 'error', 'unreachable')",
}
# One that is held after its validation waits for somebody, and says so.
_NOT_HELD: Final = " AND NOT (status = 'pending' AND status_message LIKE 'Validated. It waits%')"


def check(served: Served) -> None:
    """Check what must always be so."""
    found = {what: served.rows(query) for what, query in ALWAYS.items()}
    assert not any(found.values()), {what: rows for what, rows in found.items() if rows}


def at_rest(served: Served, *, held: bool = False) -> None:
    """Check what must be so when nothing goes on, too.

    Args:
        served: the service.
        held: whether a server may be held after its validation.

    """
    check(served)
    between = "a server between two states"
    queries = {**QUIET, between: QUIET[between] + _NOT_HELD} if held else QUIET
    found = {what: served.rows(query) for what, query in queries.items()}
    assert not any(found.values()), {what: rows for what, rows in found.items() if rows}


def settled(served: Served, seconds: float = 120) -> float:
    """Wait until everything has come to its end, check that nothing of it is left, and return how long that took."""
    began = time.monotonic()
    wait_for(lambda: not served.rows(QUIET["a run that has no end"]), "all runs end", seconds)
    took = time.monotonic() - began
    at_rest(served)
    return took
