"""`ocore debug-bundle`: from what a run printed to a file that can be given away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.unit.cli.fakes import KEY
from tests.unit.test_bundle import unpacked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.cli.conftest import Ran

    Ocore = Callable[..., Ran]


def written(ocore: Ocore, file: Path, *words: str) -> Ran:
    """Write a bundle for a server whose key is given."""
    return ocore("debug-bundle", "root@192.0.2.1:2222", "--host-key", str(KEY), "--output", str(file), *words, "--json")


def test_what_a_run_printed_goes_into_the_bundle(ocore: Ocore, tmp_path: Path, key_file: str) -> None:
    """The run's own lines, its kind and its options; the file is for its owner only."""
    ran = ocore("plan", "root@192.0.2.1:2222", "--key", key_file, "--host-key", str(KEY), "--json")
    (tmp_path / "run.jsonl").write_text(ran.out)
    file = tmp_path / "out.tar.gz"
    done = written(ocore, file, "--log", str(tmp_path / "run.jsonl"), "--step", "docker", "--proxy", "none")
    assert (done.code, done.last["files"]) == (0, [str(file)])
    assert file.stat().st_mode & 0o077 == 0
    files = unpacked(file.read_bytes())
    assert [json.loads(line) for line in files["events.jsonl"].splitlines()] == ran.objects
    assert "--tags look" in files["run.sh"]
    assert '"docker"' in files["variables.json"]
    assert '"proxy_kind": "none"' in files["inventory.yml"]
    assert KEY.key in files["known_hosts"]


def test_a_bundle_does_what_the_run_was_asked_for(ocore: Ocore, tmp_path: Path, key_file: str) -> None:
    """What was to change nothing does so by hand, too; chosen steps and force are taken from the run's own words."""
    login = ("root@192.0.2.1:2222", "--key", key_file, "--host-key", str(KEY), "--json")
    ran = ocore("provision", *login, "--check", "--force", "--step", "docker")
    assert ran.last["asked"] == {"steps": ["docker"], "force": True, "check": True}
    (tmp_path / "run.jsonl").write_text(ran.out)
    assert written(ocore, tmp_path / "x", "--log", str(tmp_path / "run.jsonl")).code == 0
    files = unpacked((tmp_path / "x").read_bytes())
    assert "--check --diff" in files["run.sh"]
    assert json.loads(files["variables.json"]) == {"ocore_force": True, "ocore_steps": ["docker"]}
    assert ocore("plan", *login, "--force").last["asked"] == {"steps": [], "force": True, "check": False}


def test_what_was_asked_for_can_be_named_without_a_log(ocore: Ocore, tmp_path: Path) -> None:
    """With the options that the run had."""
    assert written(ocore, tmp_path / "x", "--check").code == 0
    assert "--check --diff" in unpacked((tmp_path / "x").read_bytes())["run.sh"]


@pytest.mark.parametrize("asked", [1, {"steps": 1}, {"steps": [1]}, {"steps": [], "force": "x", "check": False}])
def test_a_log_that_asks_for_something_else_is_refused(ocore: Ocore, tmp_path: Path, asked: object) -> None:
    """It was not printed by a run."""
    (tmp_path / "log").write_text(json.dumps({"type": "result", "command": "provision", "asked": asked}))
    ran = written(ocore, tmp_path / "x", "--log", str(tmp_path / "log"))
    assert (ran.code, ran.last["error"]["field"]) == (2, "--log")


def test_a_run_is_not_needed(ocore: Ocore, tmp_path: Path) -> None:
    """Without `--log` it is a bundle for a provisioning run."""
    assert written(ocore, tmp_path / "x").code == 0
    files = unpacked((tmp_path / "x").read_bytes())
    assert "events.jsonl" not in files
    assert "playbooks/provision.yml" in files["run.sh"]


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"type": "result", "command": "facts"}', '{"a": 1}'])
def test_another_file_is_no_log(ocore: Ocore, tmp_path: Path, text: str) -> None:
    """Whatever else it is, it may hold secrets that nobody took out, and is not given away."""
    (tmp_path / "log").write_text(text)
    ran = written(ocore, tmp_path / "x", "--log", str(tmp_path / "log"))
    assert ran.code == 2
    assert ran.last["error"]["field"] == "--log"
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("option", "value"), [("--log", "/nope"), ("--output", "/nope/x")])
def test_a_file_that_cannot_be_had_is_named(ocore: Ocore, tmp_path: Path, option: str, value: str) -> None:
    """The error says which argument is wrong."""
    ran = written(ocore, tmp_path / "x", option, value)
    assert (ran.code, ran.last["error"]["field"]) == (2, option)
