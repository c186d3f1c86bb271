"""`ocore receipt verify`: a document of receipts is checked offline, and refused with its reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ocore import receipts
from tests.unit.test_receipts import KEY, change, document, remove, remove_last

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.cli.conftest import Ran


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with a document."""
    found = tmp_path / "receipts.json"
    found.write_text(json.dumps(document()))
    return found


def test_the_command_believes_a_whole_document(ocore: Callable[..., Ran], file: Path, tmp_path: Path) -> None:
    """With the key given as it is or as the service's answer, from a file or standard input."""
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [{"key": KEY, "active": True}]}))
    last = receipts.digest(document()["receipts"][-1]["receipt"])
    for given in (KEY, str(keys)):
        ran = ocore("receipt", "verify", str(file), "--key", given, "--json")
        assert ran.code == 0
        assert (ran.last["believed"], ran.last["receipts"], ran.last["last"]) == (True, 3, last)
    ran = ocore("receipt", "verify", "-", "--key", KEY, "--server", "s", "--last", last, stdin=file.read_text())
    assert (ran.code, ran.err) == (0, "")
    assert "Believed: 3 receipt(s) of the server s" in ran.out


@pytest.mark.parametrize("tamper", [change, remove, remove_last])
def test_the_command_refuses_with_a_reason(
    ocore: Callable[..., Ran], file: Path, tamper: Callable[[dict[str, Any]], None]
) -> None:
    """Exit code 1; for people and for machines the same reason."""
    made = document()
    tamper(made)
    file.write_text(json.dumps(made))
    reason = receipts.verify(made, {KEY})[0].reason
    ran = ocore("receipt", "verify", str(file), "--key", KEY)
    assert (ran.code, ran.out) == (1, "")
    assert reason in ran.err
    ran = ocore("receipt", "verify", str(file), "--key", KEY, "--json")
    assert ran.code == 1
    assert (ran.last["believed"], ran.last["error"]["code"]) == (False, "receipt_refused")
    assert ran.last["faults"][0]["reason"] == reason


def test_the_command_refuses_another_server(ocore: Callable[..., Ran], file: Path) -> None:
    """A good document about another server proves nothing of this one."""
    ran = ocore("receipt", "verify", str(file), "--key", KEY, "--server", "t")
    assert ran.code == 1
    assert "it is about another server (s)" in ran.err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "{}"),
        (["--key", "x"], "{}"),
        (["--key", KEY], "no JSON"),
        (["--key", KEY], '{"receipts": [], "receipts": []}'),
    ],
)
def test_wrong_arguments_are_usage_errors(ocore: Callable[..., Ran], file: Path, words: list[str], text: str) -> None:
    """No key, no such key, no JSON, an object that names something twice: exit code 2."""
    file.write_text(text)
    ran = ocore("receipt", "verify", str(file), *words, "--json")
    assert (ran.code, ran.last["error"]["code"]) == (2, "config_error")
