"""The debug bundle of a run: what it was made with and what it told, and none of the service's secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlmodel import select

from api.data.tables import Run, Server
from ocore.testing import ReplayTransport
from tests.integration.canary import Scan, spellings
from tests.service.support import RECORDINGS, recording
from tests.unit.keymaker import private_key
from tests.unit.test_bundle import unpacked

if TYPE_CHECKING:
    from tests.service.support import Service

PASSWORD = "canary-of-the-sudo-password-4711"


def bundle(service: Service, run: str) -> bytes:
    """Return a run's bundle, as it is sent."""
    answer = service.call("GET", f"/api/runs/{run}/debug-bundle")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/gzip"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="ocore-debug-{run}.tar.gz"'
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.content


def test_a_failed_run_is_told_of_as_it_was(service: Service) -> None:
    """Error, step log and events, and the variables and digests of that time, whatever is set now."""
    server = service.create(proxyType="nginx")["id"]
    with service.worker(recording("docker_too_old")):
        service.until(server, "error")
    [run] = [one for one in service.runs(server) if one["state"] == "failed"]
    with service.parts.database.write() as session:
        row = session.exec(select(Run).where(Run.id == run["id"])).one()
        assert row.basis is not None
        row.basis = row.basis | {"content": "f" * 64}
        session.add(row)
    service.set(server, proxy_type="none")

    files = unpacked(bundle(service, run["id"]))
    about = json.loads(files["run.json"])
    assert about["run"]["errorCode"] == "docker_too_old"
    assert about["server"]["id"] == server
    assert [one["status"] for one in json.loads(files["steps.json"]) if one["step"] == "docker"] == ["failed"]
    events = [json.loads(line) for line in files["events.jsonl"].splitlines()]
    assert [one["number"] for one in events] == list(range(1, len(events) + 1))
    assert events[-1]["errorCode"] == "docker_too_old"
    assert '"proxy_kind": "nginx"' in files["inventory.yml"]
    assert json.loads(files["versions.json"])["content"] == "f" * 64
    assert "ssh-ed25519 " in files["known_hosts"]


def test_a_run_that_never_began_has_a_bundle_too(service: Service) -> None:
    """Made with what there is now."""
    server = service.create()["id"]
    files = unpacked(bundle(service, service.runs(server)[0]["id"]))
    assert "playbooks/provision.yml" in files["run.sh"]
    assert '"proxy_kind": "caddy"' in files["inventory.yml"]
    assert files["events.jsonl"] == ""


def test_no_secret_is_in_a_bundle(service: Service) -> None:
    """Key, password and token, in any spelling, and the envelopes of what is stored: also where the host says them."""
    token, key = service.token(), private_key("ed25519")
    server = service.create(sshPrivateKey=key, sshPassword=PASSWORD, description=PASSWORD)["id"]
    lines = (RECORDINGS / "docker_too_old.jsonl").read_text(encoding="utf-8")
    said = lines.replace("is too old", f"is too old {PASSWORD}").replace("Docker", f"Docker {PASSWORD}")
    assert said.count(PASSWORD) > 5
    with service.worker(ReplayTransport(said.splitlines())):
        service.until(server, "error")
    with service.parts.database.read() as session:
        row = session.exec(select(Server).where(Server.id == server)).one()
        sealed = [one for one in (row.sealed_private_key, row.sealed_password) if one]
    assert len(sealed) == 2
    lines_of_key = {line.encode() for line in key.splitlines() if "-----" not in line}
    patterns = {
        "password": spellings(PASSWORD),
        "token": spellings(token),
        "key": lines_of_key,
        "envelope": {one for data in sealed for one in (data, data.hex().encode(), *spellings(repr(data)))},
    }
    scan = Scan(patterns)
    for run in service.runs(server):
        files = unpacked(bundle(service, run["id"]))
        for name, text in files.items():
            assert scan.names_in(text.encode()) == set(), name
    # The scan itself finds what is there.
    assert scan.names_in(f"{PASSWORD} {token}".encode()) == {"password", "token"}
