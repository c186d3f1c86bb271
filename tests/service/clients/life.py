"""A server's whole life, driven by the generated Python client: `python life.py URL TOKEN < PRIVATE_KEY`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TypeVar

from ocore_client import AuthenticatedClient
from ocore_client.api.runs import create_run, get_debug_bundle, get_drift, get_run
from ocore_client.api.servers import (
    create_server,
    delete_server,
    get_server,
    get_server_capacity,
    get_server_provisioning_logs,
    list_servers,
    update_server,
)
from ocore_client.models import (
    CapacityOut,
    DriftOut,
    Message,
    ProblemOut,
    RunCreate,
    RunCreateKind,
    RunOut,
    RunState,
    ServerCreate,
    ServerDetail,
    ServerList,
    ServerOut,
    ServerStatus,
    ServerUpdate,
    StepLogList,
)

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
SECONDS = 60.0


def of(kind: type[T], answer: object) -> T:
    """Return an answer as what it must be."""
    assert isinstance(answer, kind), answer
    return answer


def until(condition: Callable[[], T | None], what: str) -> T:
    """Wait until there is something."""
    deadline = time.monotonic() + SECONDS
    while (found := condition()) is None:
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def live(client: AuthenticatedClient, key: str) -> None:
    """Create, wait until it is active, read, change, run, and delete."""
    made = of(
        ServerOut, create_server.sync(client=client, body=ServerCreate("py-1", "py.example", ssh_private_key=key))
    )

    def active() -> ServerDetail | None:
        found = of(ServerDetail, get_server.sync(made.id, client=client))
        return found if found.status is ServerStatus.ACTIVE else None

    found = until(active, "the server is active")
    assert (found.os_name, found.host_key_fingerprint is not None) == ("Debian GNU/Linux", True)
    assert [one.id for one in of(ServerList, list_servers.sync(client=client)).servers] == [made.id]
    logs = of(StepLogList, get_server_provisioning_logs.sync(made.id, client=client)).logs
    assert {one.status for one in logs} == {"success", "unchanged"} or {one.status for one in logs} == {"success"}
    capacity = of(CapacityOut, get_server_capacity.sync(made.id, client=client, add_ram_mb=65536, add_cores=16))
    assert capacity.max_instances > 0

    changed = of(ServerOut, update_server.sync(made.id, client=client, body=ServerUpdate(description="changed")))
    assert (changed.name, changed.port, changed.status) == ("py-1", 22, ServerStatus.ACTIVE)

    run = of(RunOut, create_run.sync(made.id, client=client, body=RunCreate(RunCreateKind.DRIFT)))

    def ended() -> RunOut | None:
        now = of(RunOut, get_run.sync(run.id, client=client))
        return now if now.finished_at is not None else None

    assert until(ended, "the run has ended").state is RunState.SUCCEEDED
    assert of(DriftOut, get_drift.sync(made.id, client=client)).drifted is False
    assert get_debug_bundle.sync_detailed(run.id, client=client).content.startswith(b"\x1f\x8b")

    problem = of(
        ProblemOut, create_server.sync(client=client, body=ServerCreate("py-1", "x.example", ssh_private_key=key))
    )
    assert (problem.status, problem.code) == (409, "name_taken")
    of(Message, delete_server.sync(made.id, client=client))
    until(lambda: True if get_server.sync_detailed(made.id, client=client).status_code == 404 else None, "it is gone")


if __name__ == "__main__":
    with AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2], raise_on_unexpected_status=True) as opened:
        live(opened, sys.stdin.read())
