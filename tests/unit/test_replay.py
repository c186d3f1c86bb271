"""Servers that are recordings: each kind of run, cut out of what was recorded, by the host's name."""

from __future__ import annotations

import json
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

import ocore
from ocore.replay import FILE, SHIPPED
from tests.unit.streams import credentials

if TYPE_CHECKING:
    from pathlib import Path

CHANGING = [step.name for step in ocore.STEPS if not step.validates]


def server(host: str = "web.example", **fields: str) -> ocore.Server:
    """Return a server that is nowhere."""
    return ocore.Server(host, credentials(), **fields)  # type: ignore[arg-type]


def statuses(result: ocore.RunResult) -> dict[str, str]:
    """Return how each step ended."""
    return {one.step: str(one.status) for one in result.steps}


def test_a_server_has_a_whole_life() -> None:
    """It is validated, drifts until it is provisioned, is unchanged then, is forced, and is bare once cleaned up."""
    way, one = ocore.Replay(), server()
    assert ocore.validate(one, transport=way).ok
    assert [step.step for step in ocore.drift(one, transport=way).steps][-1] == "verify"
    first = ocore.provision(one, transport=way)
    assert first.ok, first.error
    assert {statuses(first)[name] for name in ("packages", "docker", "runtime", "proxy", "verify")} == {"success"}
    assert first.specs is not None
    assert ocore.estimate(first.specs).max_instances >= 0
    assert not ocore.drift(one, transport=way)
    again = ocore.provision(one, transport=way)
    assert {statuses(again)[name] for name in CHANGING} == {"unchanged"}
    assert statuses(ocore.provision(one, transport=way, force=True))["docker"] == "success"
    assert ocore.gather(one, transport=way).cpu_cores == first.specs.cpu_cores
    assert isinstance(ocore.probe(one, transport=way), ocore.HostKey)
    assert ocore.cleanup(one, transport=way).ok
    assert ocore.drift(one, transport=way)


def test_servers_are_told_apart() -> None:
    """What was made of one is not made of another."""
    way = ocore.Replay()
    ocore.provision(server(), transport=way)
    assert ocore.drift(server("other.example"), transport=way)


def test_chosen_steps_run_alone() -> None:
    """Those that were not asked for are skipped, as in a real run, and the server is not provisioned as a whole."""
    way = ocore.Replay()
    result = ocore.provision(server(), steps=["docker"], transport=way)
    assert result.ok, result.error
    found = statuses(result)
    assert (found["packages"], found["docker"], found["proxy"], found["verify"]) == (
        "skipped", "success", "skipped", "success",
    )  # fmt: skip
    assert ocore.drift(server(), transport=way)
    assert statuses(ocore.provision(server(), check=True, transport=way))["docker"] == "success"
    assert ocore.drift(server(), transport=way)


@pytest.mark.parametrize(
    ("host", "code", "step"),
    [
        ("port-in-use.example", "port_in_use", "preflight"),
        ("docker-too-old.example", "docker_too_old", "docker"),
        ("refused.example", "connection_refused", "connect"),
        ("silent.example", "connect_timeout", "connect"),
    ],
)
def test_hosts_that_fail_do_so_by_their_names(host: str, code: str, step: str) -> None:
    """The scenario's error, in the scenario's step."""
    result = ocore.provision(server(host), transport=ocore.Replay())
    assert result.error is not None
    assert result.error.code == code
    assert statuses(result)[step] == "failed"


def test_a_run_that_hangs_is_cancelled() -> None:
    """It goes on until somebody stops it."""
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    result = ocore.provision(server("hangs.example"), cancel=cancel, transport=ocore.Replay())
    assert result.status is ocore.RunStatus.CANCELLED
    assert not result.notes, "what was left on the server was ended as well"


def test_a_slow_host_takes_its_time(tmp_path: Path) -> None:
    """Its run takes about as long as the scenario says."""
    folder = copied(tmp_path, {"slow.example": {"seconds": 0.4}})
    result = ocore.provision(server("slow.example"), transport=ocore.Replay(folder))
    assert result.ok
    assert sum(step.duration_ms for step in result.steps) > 300


def test_a_wrong_fingerprint_is_refused() -> None:
    """As a real server's key would be."""
    result = ocore.provision(server(expected_fingerprint=f"SHA256:{'A' * 43}"), transport=ocore.Replay())
    assert result.error is not None
    assert result.error.code == "host_key_changed"


def copied(folder: Path, more: dict[str, object]) -> Path:
    """Return a folder with the recordings that are shipped, and with other scenarios."""
    shutil.copytree(SHIPPED, folder / "recordings")
    file = folder / "recordings" / FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | more))
    return file.parent


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"x": {"wait": 1}}, "x has 'wait'; there are: first, again"),
        ({"x": {"hangs": "yes"}}, "hangs must be of the type bool"),
        ({"x": {"hangs": 1}}, "hangs must be of the type bool"),
        ({"x": {"seconds": True}}, "seconds must be a number, not below 0"),
        ({"x": {"seconds": "1"}}, "seconds must be a number, not below 0"),
        ({"x": {"seconds": -1}}, "seconds must be a number, not below 0"),
        ({"x": {"seconds": float("nan")}}, "seconds must be a number, not below 0"),
        ({"x": {"seconds": float("inf")}}, "seconds must be a number, not below 0"),
        ({"x": {"fails": "nonsense"}}, "there is no error 'nonsense'"),
        ({"x": {"first": "missing.jsonl"}}, "missing.jsonl cannot be read"),
        ({"x": {"first": FILE}}, "is no recording"),
        ({"x": []}, "an object for each host"),
        ({"default": {}}, "must name a recording for each of first, again and cleanup"),
    ],
)
def test_a_folder_that_is_wrong_is_named(tmp_path: Path, more: dict[str, object], words: str) -> None:
    """At the beginning, and not in the middle of a client's test."""
    with pytest.raises(ocore.ConfigError, match=words.replace("?", "\\?")):
        ocore.Replay(copied(tmp_path, more))


@pytest.mark.parametrize("first", ["1", "[1]", '"x"', "null", '{"host_key": 1}', '{"host_key": {}}', "{}", "", "x"])
def test_a_file_that_is_no_recording_is_named(tmp_path: Path, first: str) -> None:
    """Whatever its first line is, and whatever line comes after it."""
    folder = copied(tmp_path, {"x": {"first": "other.jsonl"}})
    rest = (SHIPPED / "bare.jsonl").read_text().splitlines()
    for lines in ([first, *rest[1:]], [rest[0], first], [*rest, "1"]):
        (folder / "other.jsonl").write_text("\n".join(lines))
        with pytest.raises(ocore.ConfigError, match=r"other\.jsonl is no recording"):
            ocore.Replay(folder)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    """With the file that is looked for."""
    with pytest.raises(ocore.ConfigError, match=f"{FILE} cannot be read"):
        ocore.Replay(tmp_path)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ocore.ConfigError, match="is not JSON"):
        ocore.Replay(tmp_path)
