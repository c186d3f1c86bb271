"""The service with a site's own steps: they can be asked for, and are told like ours."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlmodel import select

import ocore
from api.data.tables import RunState, Server, ServerStatus, now
from api.settings import Settings
from api.work.claims import claim
from api.work.owner import new_owner
from api.work.upkeep.sweeper import Sweeper
from ocore.testing import ReplayTransport
from tests.service.problems import problem
from tests.service.support import opened, recording, wait_for
from tests.unit.streams import begin, end, event, lines, mark, task
from tests.unit.test_bundle import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.support import Service

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "site"
CANARY = "canary-of-the-registry-4711"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Return a service with the example's site; the storage is not the matter here."""
    with opened(Settings(home=tmp_path / "home", monitor=False, site=EXAMPLE, sweep_seconds=0.3)) as found:
        yield found


def _active(service: Service) -> str:
    server: str = service.create()["id"]
    service.set(server, status=ServerStatus.ACTIVE, provisioned=True)
    service.set_runs(server, state=RunState.SUCCEEDED)
    return server


def _recording(kind: str) -> ReplayTransport:
    site = ocore.Site.load(EXAMPLE)
    steps = {name: {"so": name != "motd", "conditions": 1, "reasons": []} for name in ocore.changing_steps(site)}
    seen = event("runner_on_ok", "Look at what is already so", look=steps, due=["motd"])
    if kind == "drift":
        return ReplayTransport(lines(*begin()[:-2], seen, end()))
    return ReplayTransport(lines(*begin(), seen, *task("motd", "Write it", changed=True), mark("motd"), end()))


def test_a_site_s_step_can_be_run_alone(service: Service) -> None:
    """It has a row in the log, and the server has something to clean up."""
    server = _active(service)
    made = service.call("POST", f"/api/servers/{server}/runs", json={"steps": ["motd"]})
    assert made.status_code == 202, made.text
    with service.worker(_recording("provision")):
        wait_for(lambda: service.runs(server)[0]["state"] == "succeeded", "the run has ended")
    assert service.get(server)["status"] == "active"
    with service.parts.database.read() as session:
        assert session.exec(select(Server.touched).where(Server.id == server)).one() is True
    logs = service.call("GET", f"/api/servers/{server}/provisioning-logs").json()["logs"]
    assert [one["status"] for one in logs if one["step"] == "motd"] == ["success"]


def test_no_role_of_a_site_is_in_a_bundle(tmp_path: Path) -> None:
    """The service's secrets may be in them, which are for no organization; the bundle says which site they are of."""
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "site"))
    with (folder / "roles" / "motd" / "defaults" / "main.yml").open("a") as file:
        file.write(f"registry_password: {CANARY}\n")
    site = ocore.Site.load(folder)
    assert CANARY in b"".join(data for _, data in site.files).decode()
    with opened(Settings(home=tmp_path / "home", monitor=False, site=folder)) as service:
        run = service.runs(_active(service))[0]["id"]
        files = unpacked(service.call("GET", f"/api/runs/{run}/debug-bundle").content)
    assert [name for name, text in files.items() if CANARY in text] == []
    assert not [name for name in files if name.startswith("play/roles")]
    assert "Step motd" in files["play/provision.yml"]
    assert '"play/provision.yml"' in files["run.sh"]
    assert json.loads(files["versions.json"])["site"] == site.digest
    assert f"the folder `roles` of the site with the digest `{site.digest}`" in files["README.md"]


def test_attempts_of_a_run_say_alike_what_they_were_made_with(service: Service) -> None:
    """Also of a worker that was lost: the site's roles and digest are in each receipt, and `content` means the same."""
    made = service.create()["id"]
    assert claim(service.parts.database, new_owner(), service.settings) is not None
    service.set_runs(made, lease_owner="another-machine/1/1/1", lease_until=now() - timedelta(hours=1))
    Sweeper(service.parts, new_owner()).sweep()
    with service.worker(recording("memory_low")):
        service.until(made, "error")
    signed = service.call("GET", f"/api/servers/{made}/receipts").json()["receipts"]
    lost, heard = (one["receipt"] for one in signed)
    assert (lost["run"]["outcome"], heard["run"]["outcome"]) == ("interrupted", "failed")
    for name in ("content", "roles", "site", "versions"):
        assert lost[name] == heard[name], name
    assert "motd" in lost["roles"]


def test_a_site_s_step_drifts(service: Service) -> None:
    """A look tells of it."""
    server = _active(service)
    service.call("POST", f"/api/servers/{server}/runs", json={"kind": "drift"})
    with service.worker(_recording("drift")):
        wait_for(lambda: service.runs(server)[0]["state"] == "succeeded", "the look has ended")
    found = service.call("GET", f"/api/servers/{server}/drift").json()
    assert [one["step"] for one in found["steps"]] == ["motd"]


def test_what_is_no_step_is_refused(service: Service, tmp_path: Path) -> None:
    """The rule names the site's steps, too; without a site they are none."""
    server = _active(service)
    told = problem(service.call("POST", f"/api/servers/{server}/runs", json={"steps": ["other"]}), 422, "invalid")
    assert "motd" in told["errors"][0]["rule"]
    with opened(Settings(home=tmp_path / "other", monitor=False)) as other:
        answer = other.call("POST", f"/api/servers/{_active(other)}/runs", json={"steps": ["motd"]})
        problem(answer, 422, "invalid")


def test_a_site_that_is_wrong_is_told_at_the_start(tmp_path: Path) -> None:
    """As every other setting."""
    with pytest.raises(ValueError, match=r"site\.yml cannot be read"):
        Settings(home=tmp_path, site=tmp_path)
