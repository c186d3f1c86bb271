"""Receipts: a document of them is believed as a whole, and every way to tamper with it has a reason of its own."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ocore
from ocore import content, receipts
from ocore.evidence import evidence
from ocore.testing import ReplayTransport
from tests.record import FOLDER
from tests.unit.streams import server

if TYPE_CHECKING:
    from collections.abc import Callable

PRIVATE = bytes(range(32))
KEY = receipts.public_key(PRIVATE)
PAGE = Path(__file__).parents[2] / "docs" / "receipts.md"


def document(name: str = "s", count: int = 3, private: bytes = PRIVATE) -> dict[str, Any]:
    """Return a document with a chain of signed receipts."""
    made: list[dict[str, Any]] = []
    previous = None
    for number in range(1, count + 1):
        receipt = {"version": 1, "server": {"id": name, "host": "ü"}, "number": number, "previous": previous}
        made.append(receipts.sign("receipt", receipt, private))
        previous = receipts.digest(receipt)
    stated = {"version": 1, "server": name, "count": count, "last": previous, "at": "2026-01-01T00:00:00.000Z"}
    return {"receipts": made, "statement": receipts.sign("statement", stated, private)}


def test_a_whole_document_is_believed() -> None:
    """Also after a way through JSON, in another order of keys; also one of a server with no receipt yet."""
    again = json.loads(json.dumps(document(), indent=1, sort_keys=True))
    assert receipts.verify(again, {KEY}) == ()
    assert receipts.verify(again, {KEY}, server="s") == ()
    assert receipts.verify(document(count=0), {KEY}, server="s") == ()


def change(made: dict[str, Any]) -> None:
    """Change a text."""
    made["receipts"][1]["receipt"]["server"]["host"] = "u"


def remove(made: dict[str, Any]) -> None:
    """Remove a receipt from the middle."""
    del made["receipts"][1]


def _remove_first(made: dict[str, Any]) -> None:
    del made["receipts"][0]


def remove_last(made: dict[str, Any]) -> None:
    """Remove the newest receipt."""
    del made["receipts"][2]


def _remove_all(made: dict[str, Any]) -> None:
    del made["receipts"][:]


def _remove_last_and_statement(made: dict[str, Any]) -> None:
    del made["receipts"][2], made["statement"]


def _change_statement(made: dict[str, Any]) -> None:
    del made["receipts"][2]
    made["statement"]["statement"]["count"] = 2


def _take_another_s_statement(made: dict[str, Any]) -> None:
    made["statement"] = document("t")["statement"]


def _take_a_receipt_for_a_statement(made: dict[str, Any]) -> None:
    one = made["receipts"][0]
    made["statement"] = {"statement": one["receipt"], "key": one["key"], "signature": one["signature"]}


def _swap(made: dict[str, Any]) -> None:
    made["receipts"][1], made["receipts"][2] = made["receipts"][2], made["receipts"][1]


def _mix(made: dict[str, Any]) -> None:
    made["receipts"][1] = document("t")["receipts"][1]


def _sign_with_another(made: dict[str, Any]) -> None:
    forged = receipts.sign("receipt", made["receipts"][2]["receipt"], bytes(32))
    made["receipts"][2] = forged | {"key": KEY}


def _name_another_key(made: dict[str, Any]) -> None:
    made["receipts"][2] = receipts.sign("receipt", made["receipts"][2]["receipt"], bytes(32))


def _add_beside(made: dict[str, Any]) -> None:
    made["receipts"][1]["run"] = {"outcome": "succeeded"}


def _add_beside_the_statement(made: dict[str, Any]) -> None:
    made["statement"]["at"] = "2027-01-01T00:00:00.000Z"


def _add_to_the_document(made: dict[str, Any]) -> None:
    made["server"] = "t"


@pytest.mark.parametrize(
    ("tamper", "index", "reason"),
    [
        (change, 1, "its signature is not right"),
        (remove, 1, "a receipt before it is missing"),
        (_remove_first, 0, "it is not the first"),
        (remove_last, -1, "its statement tells of 3 receipt(s) at 2026-01-01T00:00:00.000Z, and here are 2"),
        (_remove_all, -1, "its statement tells of 3 receipt(s)"),
        (_remove_last_and_statement, -1, "it has no statement"),
        (_change_statement, -1, "of its statement: its signature is not right"),
        (_take_another_s_statement, -1, "its statement is about another server (t)"),
        (_take_a_receipt_for_a_statement, -1, "of its statement: its signature is not right"),
        (_swap, 1, "a receipt before it is missing"),
        (_mix, 1, "it is about another server (t)"),
        (_sign_with_another, 2, "its signature is not right"),
        (_name_another_key, 2, "its key "),
        (_add_beside, 1, "something stands beside what is signed: run"),
        (_add_beside_the_statement, -1, "of its statement: something stands beside what is signed: at"),
        (_add_to_the_document, -1, "something stands in it that nobody signed: server"),
    ],
)
def test_tampering_is_found(tamper: Callable[[dict[str, Any]], None], index: int, reason: str) -> None:
    """The first fault names the receipt and why it is not believed."""
    made = document()
    tamper(made)
    first = receipts.verify(made, {KEY})[0]
    assert (first.index, first.reason[: len(reason)]) == (index, reason)


def test_every_changed_byte_is_found() -> None:
    """Each character of a receipt's texts and of its signature, changed alone."""
    [signed] = document(count=1)["receipts"]
    spelled = receipts.canonical(signed).decode()
    for place, character in enumerate(spelled):
        other = spelled[:place] + ("1" if character != "1" else "2") + spelled[place + 1 :]
        try:
            changed = json.loads(other)
        except ValueError:
            continue
        if changed != signed:
            assert receipts.verify({"receipts": [changed]}, {KEY}, last=receipts.digest(signed["receipt"])), place


def test_a_document_about_another_server_is_refused() -> None:
    """Who asks about one server is not content with another's receipts, nor with another's empty list."""
    assert receipts.verify(document("t"), {KEY}, server="s")[0].reason.startswith("it is about another server")
    assert receipts.verify(document("t", 0), {KEY}, server="s")[0].reason.startswith("its statement is about another")


def test_a_document_without_receipts_needs_a_server() -> None:
    """Nobody could tell otherwise whose list is empty."""
    empty = document("t", 0)
    assert receipts.verify(empty, {KEY})[0].reason.startswith("it has no receipts: name the server")
    assert receipts.verify(empty, {KEY}, server="t") == ()


def test_an_older_document_is_whole_as_of_then_but_not_by_a_newer_digest() -> None:
    """Whether receipts came after the statement's time cannot be known; a digest from elsewhere tells."""
    older, newer = document(count=2), document(count=3)
    assert receipts.verify(older, {KEY}) == ()
    last = receipts.digest(newer["receipts"][-1]["receipt"])
    assert receipts.verify(newer, {KEY}, last=last) == ()
    assert receipts.verify({"receipts": newer["receipts"]}, {KEY}, last=last) == ()
    assert receipts.verify(older, {KEY}, last=last)[0].reason.startswith("its last receipt is another one")


@pytest.mark.parametrize("signed", [None, 1, "x", {}, {"receipt": 1}, {"receipt": {}, "key": KEY, "signature": "?"}])
def test_what_is_no_receipt_is_told(signed: Any) -> None:
    """Whatever stands there, it is a fault and no exception."""
    assert receipts.verify({"receipts": [signed]}, {KEY})
    assert receipts.verify(signed, {KEY})
    assert receipts.verify({"receipts": [], "statement": signed}, {KEY})


def test_text_that_cannot_be_spelled_is_a_fault() -> None:
    """Half a surrogate pair, and a number that is none, have no canonical bytes."""
    for odd in ("\ud800", float("nan")):
        made = document(count=1)
        made["receipts"][0]["receipt"]["odd"] = odd
        assert receipts.verify(made, {KEY})


def test_fractions_are_not_signed() -> None:
    """They have many spellings."""
    with pytest.raises(ValueError, match="fractions"):
        receipts.sign("receipt", {"a": [{"b": 1.5}]}, PRIVATE)


def test_a_run_s_evidence_can_be_signed() -> None:
    """It has the steps, the plan, the roles and versions, and names hardware and host key by what cannot be forged."""
    found = ocore.provision(server(), transport=ReplayTransport(FOLDER / "bare.jsonl"))
    told = evidence(server(), ocore.ProvisionOptions(), found)
    assert [one["step"] for one in told["steps"]] == [one.name for one in ocore.STEPS]
    assert {one["status"] for one in told["steps"]} == {"success", "unchanged"}
    assert told["roles"].keys() == {path.name for path in (content.root() / "roles").iterdir()}
    assert told["versions"].keys() == {"ocore", "ansible-core", "ansible-runner", "python"}
    assert re.fullmatch("[0-9a-f]{64}", told["plan"])
    assert re.fullmatch("[0-9a-f]{64}", told["facts"])
    assert told["hostKey"].startswith("SHA256:")
    signed = receipts.sign("receipt", told | {"version": 1, "previous": None, "server": {"id": "s"}}, PRIVATE)
    assert receipts.verify({"receipts": [signed]}, {KEY}, last=receipts.digest(signed["receipt"])) == ()


@pytest.mark.parametrize("host", ["web.example", "docker-too-old.example"])
def test_a_receipt_s_plan_is_the_one_that_was_looked_at_before(host: str) -> None:
    """Its hash is that of `ocore plan` before the run, though the run looks again on its way; also where it failed."""
    one, options, way = dataclasses.replace(server(), host=host), ocore.ProvisionOptions(), ocore.Replay()
    before = ocore.plan(one, options, transport=way)
    told = evidence(one, options, ocore.provision(one, options, transport=way))
    assert told["plan"] == before.hash


def test_the_ten_lines_of_the_page_check_a_document() -> None:
    """They believe what `verify` believes, and refuse a change, a gap and a missing end."""
    [code] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert "ocore" not in code.replace("ocore {kind}", "")
    names: dict[str, Any] = {}
    exec(compile(code, "receipts.md", "exec"), names)  # noqa: S102 - it is our own
    names["check"](document(), {KEY})
    signs = (_sign_with_another, _name_another_key, _add_beside)
    for tamper in (change, remove, _remove_first, remove_last, _mix, *signs):
        made = copy.deepcopy(document())
        tamper(made)
        with pytest.raises(Exception, match=r".*"):
            names["check"](made, {KEY})
