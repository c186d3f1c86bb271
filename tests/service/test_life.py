"""A server's life through the API, with a worker that plays recorded runs; real servers are in tests/e2e."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ocore
from tests.service.support import recording, wait_for

if TYPE_CHECKING:
    from tests.service.support import Service

STEPS = [step.name for step in ocore.STEPS]
# What is off by default.
OPTIONAL = ("swap", "security", "agent")


def test_a_server_becomes_active_by_itself(service: Service) -> None:
    """A created server is validated and provisioned; its hardware, key and log are there, and no secret is."""
    made = service.create()
    assert made["status"] == "pending"
    with service.worker(recording("bare")):
        found = service.until(made["id"], "active")

    assert found["cpuCores"] > 0
    assert found["hostKeyFingerprint"].startswith("SHA256:")
    assert found["capacity"]["reasoning"].startswith(("CPU", "RAM", "Disk"))
    assert found["lastSeenAt"]
    logs = service.call("GET", f"/api/servers/{made['id']}/provisioning-logs").json()["logs"]
    assert [log["step"] for log in logs] == STEPS
    assert {log["status"] for log in logs if log["step"] not in OPTIONAL} == {"success"}
    assert all(log["completedAt"] >= log["startedAt"] for log in logs)
    assert "PRIVATE KEY" not in str(found) + str(logs)


def test_a_failed_run_says_why_and_what_to_do(service: Service) -> None:
    """The server is in error, with the library's words; the steps after the failed one were skipped."""
    made = service.create()
    with service.worker(recording("memory_low")):
        found = service.until(made["id"], "error")
        assert "memory" in found["statusMessage"].lower()
        assert found["provisioningStep"] == "preflight"
        [run] = service.runs(made["id"])
        assert (run["state"], run["errorCode"]) == ("failed", "memory_low")

    with service.worker(recording("bare")):
        assert service.call("POST", f"/api/servers/{made['id']}/retry").status_code == 200
        service.until(made["id"], "active")
    logs = service.call("GET", f"/api/servers/{made['id']}/provisioning-logs").json()["logs"]
    assert [log["step"] for log in logs] == STEPS * 2
    assert [log["status"] for log in logs[:5]] == ["success", "success", "success", "failed", "skipped"]


def test_a_removed_server_is_gone_with_everything_of_it(service: Service) -> None:
    """DELETE is answered at once; then the server, its runs and its logs are not found any more."""
    made = service.create()
    with service.worker(recording("bare")):
        service.until(made["id"], "active")
    [run] = service.runs(made["id"])
    with service.worker(recording("cleaned")):
        assert service.call("DELETE", f"/api/servers/{made['id']}").status_code == 202
        wait_for(lambda: service.call("GET", f"/api/servers/{made['id']}").status_code == 404, "it is gone")
    assert service.call("GET", f"/api/runs/{run['id']}").status_code == 404
    assert service.create(name=made["name"], host=made["host"])["id"] != made["id"]
