"""Receipts: each end of a run is signed and chained with it, outlives its server, and is believed by the key alone."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlmodel import col, select

import ocore
from api.data.tables import Receipt, Run, RunState, now
from api.parts import RECEIPT, keyring
from api.work.claims import claim
from api.work.outcome import HANDOVER, Done, finish
from api.work.owner import new_owner
from api.work.recorder import RowRecorder
from api.work.upkeep.sweeper import Sweeper
from ocore.cli import main
from tests.service.problems import problem
from tests.service.support import recording, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.support import Service


def document(service: Service, server: str) -> dict[str, Any]:
    """Return a server's document."""
    answer = service.call("GET", f"/api/servers/{server}/receipts")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def receipts(service: Service, server: str) -> list[dict[str, Any]]:
    """Return a server's receipts, which are believed."""
    found = document(service, server)
    assert ocore.verify_receipts(found, keys(service), server=server) == ()
    return [one["receipt"] for one in found["receipts"]]


def keys(service: Service) -> set[str]:
    """Return the public keys."""
    return {one["key"] for one in service.call("GET", "/api/receipts/keys").json()["keys"]}


def end(service: Service) -> None:
    """End the run that waits, well, and without anything having been done."""
    taken = claim(service.parts.database, new_owner(), service.settings)
    assert taken is not None
    assert finish(service.parts, taken, RowRecorder(service.parts, taken), Done(), "")


def outcomes(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return kind and outcome of each receipt."""
    return [(one["run"]["kind"], one["run"]["outcome"]) for one in found]


def test_a_server_s_life_is_a_chain_that_outlives_it(service: Service) -> None:
    """Failed, provisioned, removed: three receipts, the last one of the clean-up."""
    made = service.create(name="ä", host="192.0.2.77")["id"]
    assert receipts(service, made) == []
    with service.worker(recording("memory_low")):
        service.until(made, "error")
    with service.worker(recording("bare")):
        service.call("POST", f"/api/servers/{made}/retry")
        active = service.until(made, "active")
    with service.worker(recording("cleaned")):
        service.call("DELETE", f"/api/servers/{made}")
        wait_for(lambda: service.call("GET", f"/api/servers/{made}").status_code == 404, "it is gone")

    found = receipts(service, made)
    assert outcomes(found) == [("provision", "failed"), ("provision", "succeeded"), ("cleanup", "succeeded")]
    assert [one["number"] for one in found] == [1, 2, 3]
    assert found[0]["run"]["errorCode"] == "memory_low"
    assert found[0]["steps"][3]["errorCode"] == "memory_low"
    assert found[1]["server"] == {"id": made, "name": "ä", "host": "192.0.2.77", "port": 22}
    assert found[1]["hostKey"] == active["hostKeyFingerprint"]
    assert [one["step"] for one in found[1]["steps"]] == [one.name for one in ocore.STEPS]
    assert found[1]["run"]["by"] == "tester"
    assert len(found[1]["plan"]) == len(found[1]["facts"]) == len(found[1]["content"]) == 64
    stranger = service.token(organization="two")
    problem(service.call("GET", f"/api/servers/{made}/receipts", token=stranger), 404, "not_found")


def test_a_lost_worker_s_attempt_has_a_receipt_of_its_own(service: Service) -> None:
    """It says that it was interrupted, with the steps as the log has them; the next attempt's has only its own."""
    made = service.create()["id"]
    for _ in range(2):
        taken = claim(service.parts.database, new_owner(), service.settings)
        assert taken is not None
        RowRecorder(service.parts, taken).step_started("docker", now())
        service.set_runs(made, lease_owner="another-machine/1/1/1", lease_until=now() - timedelta(hours=1))
        Sweeper(service.parts, new_owner()).sweep()
    with service.worker(recording("bare")):
        service.until(made, "active")
    found = receipts(service, made)
    assert outcomes(found) == [("provision", "interrupted")] * 2 + [("provision", "succeeded")]
    assert [one["run"]["attempt"] for one in found] == [1, 2, 3]
    assert [[step["step"] for step in one["steps"]] for one in found[:2]] == [["docker"], ["docker"]]
    assert {step["status"] for one in found[:2] for step in one["steps"]} == {"failed"}
    assert found[0]["hostKey"] is None


def test_a_clean_up_has_a_receipt_for_its_last_try_only(service: Service) -> None:
    """However often it is put off, nothing was ended by that."""
    made = service.create()["id"]
    end(service)
    service.set(made, touched=True)
    service.call("DELETE", f"/api/servers/{made}")
    away = Done(ocore.Failure(ocore.ErrorCode.CONNECT_TIMEOUT, "It did not answer."))
    for _ in range(4):
        _try_to_clean_up(service, made, away)
        assert outcomes(receipts(service, made)) == [("provision", "succeeded")]
    _try_to_clean_up(service, made, Done())
    assert outcomes(receipts(service, made)) == [("provision", "succeeded"), ("cleanup", "succeeded")]


def test_a_clean_up_that_is_handed_over_has_a_receipt(service: Service) -> None:
    """Its worker was stopped in the middle of it: something may have been done."""
    made = service.create()["id"]
    end(service)
    service.set(made, touched=True)
    service.call("DELETE", f"/api/servers/{made}")
    stopped = Done(ocore.Failure(ocore.ErrorCode.CANCELLED, "Stopped."))
    _try_to_clean_up(service, made, stopped, HANDOVER)
    assert outcomes(receipts(service, made)) == [("provision", "succeeded"), ("cleanup", "interrupted")]


def _try_to_clean_up(service: Service, server: str, done: Done, reason: str = "") -> None:
    service.set_runs(server, start_after=None)
    taken = claim(service.parts.database, new_owner(), service.settings)
    assert taken is not None
    assert finish(service.parts, taken, RowRecorder(service.parts, taken), done, reason)


def test_pages_of_receipts_are_one_document(service: Service) -> None:
    """Joined, with the statement of the last page, they are believed; a page alone is told to be a part."""
    made = service.create()["id"]
    end(service)
    for _ in range(4):
        service.call("POST", f"/api/servers/{made}/runs", json={"kind": "validate"})
        end(service)
    whole, pages, at = document(service, made), [], f"/api/servers/{made}/receipts?limit=2"
    while at:
        answer = service.call("GET", at)
        pages.append(answer.json())
        at = answer.links.get("next", {}).get("url", "")
    assert [len(page["receipts"]) for page in pages] == [2, 2, 1]
    joined = {"receipts": [one for page in pages for one in page["receipts"]], "statement": pages[-1]["statement"]}
    assert joined["receipts"] == whole["receipts"]
    assert ocore.verify_receipts(joined, keys(service), server=made) == ()
    assert "tells of 5 receipt(s)" in ocore.verify_receipts(pages[0], keys(service), server=made)[0].reason
    assert pages[0]["statement"]["statement"]["last"] == whole["statement"]["statement"]["last"]


def test_a_run_ends_with_its_receipt_or_not_at_all(service: Service) -> None:
    """One transaction: where the receipt cannot be signed, the run has not ended."""
    service.create()
    taken = claim(service.parts.database, new_owner(), service.settings)
    assert taken is not None

    class Broken:
        def sign(self, *_: object) -> dict[str, Any]:
            raise RuntimeError

    broken = dataclasses.replace(service.parts, signer=Broken())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        finish(broken, taken, RowRecorder(service.parts, taken), Done(), "")
    with service.parts.database.read() as session:
        assert session.exec(select(Run.state)).one() == RunState.RUNNING
    assert finish(service.parts, taken, RowRecorder(service.parts, taken), Done(), "")
    assert outcomes(receipts(service, taken.server.id)) == [("provision", "succeeded")]


def test_what_older_keys_signed_stays_verifiable(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when they are dropped; what is signed from then on needs the new key."""
    for name, value in service.settings.model_dump(include={"home", "database_url", "queue_url"}).items():
        monkeypatch.setenv(f"OCORE_{name.upper()}", str(value))
    made = service.create()["id"]
    end(service)
    before, old = document(service, made), keys(service)
    assert main(["keys", "rotate", RECEIPT]) == 0
    assert main(["keys", "rotate", RECEIPT]) == 0
    between = document(service, made)
    assert main(["keys", "rotate", RECEIPT]) == 0
    assert main(["keys", "drop", RECEIPT]) == 0
    assert len(keyring(service.settings, RECEIPT).ring().keys) == 1
    service.call("POST", f"/api/servers/{made}/runs", json={"kind": "validate"})
    end(service)
    assert len(receipts(service, made)) == 2
    told = service.call("GET", "/api/receipts/keys").json()["keys"]
    assert [one["active"] for one in told].count(True) == 1
    for earlier in (before, between):
        assert ocore.verify_receipts(earlier, keys(service)) == ()
    assert "not among those that are believed" in ocore.verify_receipts(document(service, made), old)[0].reason


@pytest.mark.parametrize("storage", ["sqlite"])
def test_show_what_the_command_says(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Believed offline; changed, with one removed (also the last), of another server: refused, each for its reason."""
    made, other = service.create()["id"], service.create()["id"]
    with service.worker(recording("bare")):
        service.until(made, "active")
        service.until(other, "active")
        for count in (2, 3):
            service.call("POST", f"/api/servers/{made}/runs", json={"kind": "validate"})
            wait_for(lambda count=count: len(document(service, made)["receipts"]) == count, "it ended")
    whole = document(service, made)
    (tmp_path / "keys.json").write_text(service.call("GET", "/api/receipts/keys").text)

    def verify(words: str, changed: dict[str, Any]) -> str:
        file = tmp_path / "receipts.json"
        file.write_text(json.dumps(changed))
        code = main(["receipt", "verify", str(file), "--key", str(tmp_path / "keys.json"), "--server", made])
        said = capsys.readouterr()
        with capsys.disabled():
            print(f"\n{words}: exit {code}\n{said.out}{said.err}", end="")  # noqa: T201 - for this it is there
        assert code == (1 if said.err else 0)
        return said.err

    def without(place: int) -> dict[str, Any]:
        return whole | {"receipts": [one for index, one in enumerate(whole["receipts"]) if index != place]}

    def with_another_byte() -> dict[str, Any]:
        changed: dict[str, Any] = json.loads(
            json.dumps(whole).replace('"status": "success"', '"status": "success!"', 1)
        )
        return changed

    assert verify("whole", whole) == ""
    assert "its signature is not right" in verify("one byte changed", with_another_byte())
    assert "it is not the first" in verify("the first removed", without(0))
    assert "a receipt before it is missing" in verify("one in the middle removed", without(1))
    assert "tells of 3 receipt(s)" in verify("the last removed", without(2))
    assert "it is about another server" in verify("another server's", document(service, other))
    mixed = whole | {"receipts": [whole["receipts"][0], document(service, other)["receipts"][0]]}
    assert "it is about another server" in verify("another server's among them", mixed)


@pytest.mark.parametrize("storage", ["sqlite"])
def test_rows_that_were_removed_from_the_database_are_noticed(service: Service) -> None:
    """From the middle: the chain tells. The last one: a digest that somebody wrote down tells, and nothing else."""
    made = service.create()["id"]
    for number in range(3):
        if number:
            service.call("POST", f"/api/servers/{made}/runs", json={"kind": "validate"})
        end(service)
    last = ocore.receipt_digest(document(service, made)["receipts"][-1]["receipt"])
    _delete(service, 3)
    shorter = document(service, made)
    assert ocore.verify_receipts(shorter, keys(service)) == ()
    assert ocore.verify_receipts(shorter, keys(service), last=last)
    _delete(service, 1)
    assert "it is not the first" in ocore.verify_receipts(document(service, made), keys(service))[0].reason


def _delete(service: Service, number: int) -> None:
    with service.parts.database.write() as session:
        session.delete(session.exec(select(Receipt).where(col(Receipt.number) == number)).one())
