"""The swap file: what the role wants, what counts as one, and that no container gets one."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import ocore_preflight as preflight
import pytest
from ansible.module_utils.ocore_checks import wrong_in
from ansible.module_utils.ocore_conditions import why_not
from ansible.module_utils.ocore_manifest import empty
from ansible.module_utils.ocore_recording import record
from ansible.module_utils.ocore_system import memory_bytes
from ansible.module_utils.ocore_undoing import GONE, REMOVED, undone

from ocore.capacity import estimate
from ocore.specs import parse_specs
from ocore.steps import BY_NAME
from tests.unit.content.rendering import rendered
from tests.unit.content.test_cleanup import file_entry, outcome, refuse, undo_of
from tests.unit.content.test_look import StandIn
from tests.unit.content.test_preflight import FACTS, GIB, OPTIONS
from tests.unit.content.test_verify import StandIn as StandInServer
from tests.unit.content.test_verify import expected
from tests.unit.test_content_agrees import is_taken


def state(size: int, container: str = "") -> list[dict[str, Any]]:
    """Return what the role wants."""
    found: list[dict[str, Any]] = rendered("swap_state", "swap", facts={"container": container}, swap_mb=size)
    return found


def made(path: Path, size_mb: int = 2, mode: int = 0o600) -> Path:
    """Make a swap file, as the role does; it is not turned on."""
    path.write_bytes(bytes(size_mb * 2**20))
    path.chmod(mode)
    subprocess.run(["/sbin/mkswap", path], check=True, capture_output=True)
    return path


def want(path: Path, size_mb: int = 2) -> dict[str, Any]:
    """Return the condition for a swap file of this user's."""
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    return {"kind": "swapfile", "path": str(path), "size_mb": size_mb, "mode": "0600", "owner": user, "group": group}


def test_a_swap_file_is_roots_alone_and_comes_back_at_a_start() -> None:
    """Who reads swap reads memory."""
    kinds = {one["kind"]: one for one in state(512)}
    assert (kinds["swapfile"]["size_mb"], kinds["swapfile"]["mode"], kinds["swapfile"]["owner"]) == (
        512,
        "0600",
        "root",
    )
    assert (kinds["unit"]["active"], kinds["unit"]["enabled"]) == (True, True)
    assert f"What={kinds['swapfile']['path']}" in kinds["file"]["content"]
    # systemd takes no other name for it.
    escaped = kinds["swapfile"]["path"].strip("/").replace("/", "-")
    assert kinds["unit"]["name"] == f"{escaped}.swap"
    assert kinds["file"]["path"].endswith(f"/{escaped}.swap")


def test_without_a_size_there_is_to_be_none() -> None:
    """Off is a state like any other: what is there is taken away."""
    assert {one["kind"] for one in state(0)} == {"absent"}
    assert {one["path"] for one in state(0)} == {one["path"] for one in state(1) if one["kind"] in ("swapfile", "file")}


@pytest.mark.parametrize("size", [0, 512])
def test_a_container_gets_none(size: int) -> None:
    """Whatever it turned on or off would be its machine's."""
    assert state(size, "docker") == []


def test_validation_says_that_a_container_gets_none() -> None:
    """Only where swap was asked for."""
    [warning] = preflight.warn_of_swap({"container": "docker"}, 512)
    assert "container (docker)" in warning
    assert preflight.warn_of_swap({"container": "docker"}, 0) == []
    assert preflight.warn_of_swap({"container": ""}, 512) == []


@pytest.mark.parametrize(
    ("swap_mb", "there", "container", "found"),
    [
        (0, 0, "", []),
        (2048, 0, "", ["disk_low"]),
        (2048, 2048, "", []),
        # The new one is made before the old one goes.
        (2048, 1024, "", ["disk_low"]),
        (1024, 0, "", []),
        (2048, 0, "docker", []),
    ],
)
def test_the_disk_must_have_room_for_it(
    swap_mb: int, there: int, container: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what Docker needs; one that is there already has taken its room."""
    path = tmp_path / "swap"
    if there:
        path.touch()
        os.truncate(path, there * 2**20)
    monkeypatch.setattr(preflight, "SWAP_FILE", str(path))
    monkeypatch.setattr(preflight, "DOCKER_DATA", str(tmp_path / "docker"))
    facts = FACTS | {"disk_free_bytes": 11 * GIB, "container": container}
    findings = preflight.check_hardware(facts, OPTIONS | {"swap_mb": swap_mb})
    assert [one.code for one in findings] == found
    assert all("10 GB, and 2048 MB for the swap file" in one.message for one in findings)


def test_what_a_killed_run_has_left_of_it_is_room_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run writes over it."""
    monkeypatch.setattr(preflight, "SWAP_FILE", str(tmp_path / "swap"))
    monkeypatch.setattr(preflight, "DOCKER_DATA", str(tmp_path / "docker"))
    (tmp_path / "swap.ocore-part").write_bytes(b"x" * 3 * 2**20)
    assert preflight.swap_to_come({"container": ""}, 8) == 5


def test_a_swap_file_on_another_disk_takes_no_room_of_dockers(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc is never the disk of anything."""
    monkeypatch.setattr(preflight, "DOCKER_DATA", "/proc")
    assert preflight.swap_to_come({"container": ""}, 2048) == 0


def test_the_largest_can_be_written_in_the_steps_time() -> None:
    """Even by a slow disk of 30 MB a second."""
    largest = max(size for size in (2**bits for bits in range(24)) if is_taken(swap_mb=size))
    assert BY_NAME["swap"].timeout >= largest / 30


def test_a_swap_file_holds(tmp_path: Path) -> None:
    """One that mkswap has made, of the right size and mode."""
    assert why_not(want(made(tmp_path / "swap")), StandIn()) is None


def test_what_is_no_swap_file_does_not_hold(tmp_path: Path) -> None:
    """Each difference has its own words."""
    path = tmp_path / "swap"
    assert "is not there" in str(why_not(want(path), StandIn()))
    made(path, mode=0o644)
    assert "has mode 0644" in str(why_not(want(path), StandIn()))
    assert "has 2 MB, not 3" in str(why_not(want(path, 3), StandIn()))
    path.write_bytes(bytes(2 * 2**20))
    assert "was not made for swapping" in str(why_not(want(path), StandIn()))
    path.unlink()
    path.symlink_to(made(tmp_path / "other"))
    assert "no regular file" in str(why_not(want(path), StandIn()))


def test_cleaning_up_removes_what_was_made_here(tmp_path: Path) -> None:
    """A file that was there before is not recorded; ours goes, though its content is not known."""
    path = tmp_path / "swap"
    [entry] = record(empty(), "swap", [want(path)], None)["entries"]  # type: ignore[arg-type]
    made(path)
    assert record(empty(), "swap", [want(path)], None)["entries"] == []  # type: ignore[arg-type]
    assert outcome(entry) == REMOVED
    assert outcome(entry) == GONE


def test_a_swap_file_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted while in use, it would take its place on the disk until the next start."""
    path = made(tmp_path / "swap")
    (tmp_path / "swaps").write_text(f"Filename Type Size Used Priority\n{path} file 2044 0 -2\n")
    monkeypatch.setattr("ansible.module_utils.ocore_undoing.SWAPS", str(tmp_path / "swaps"))
    assert "is in use" in outcome({"kind": "swapfile", "path": str(path), "step": "swap"}).kept
    assert path.exists()


def test_swap_that_memory_cannot_take_back_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit, its file and the swap file, in the order of cleaning up: each stays, and says so."""
    path = made(tmp_path / "swap")
    unit = {"kind": "unit", "name": "a.swap", "step": "swap"}
    file = file_entry(tmp_path / "a.swap", step="swap")
    Path(file["path"]).write_text("ours\n")
    (tmp_path / "swaps").write_text(f"Filename Type Size Used Priority\n{path} file 2044 0 -2\n")
    monkeypatch.setattr("ansible.module_utils.ocore_undoing.SWAPS", str(tmp_path / "swaps"))
    swapfile = {"kind": "swapfile", "path": str(path), "step": "swap"}
    undo = undo_of(unit, file, swapfile, units={"a.swap": file["path"]})
    undo.run, undo.present.active = refuse, ["a.swap"]
    found = [undone(entry, undo) for entry in (unit, file, swapfile)]
    assert [one.kept.split(": ")[1] for one in found] == [
        "no", "its unit still runs", f"it is in use; `swapoff {path}` needs enough free memory",
    ]  # fmt: skip
    assert (path.exists(), Path(file["path"]).exists()) == (True, True)


def test_verify_asks_for_the_unit() -> None:
    """Where no swap was asked for, there is nothing to ask."""
    assert wrong_in(["swap"], expected(), StandInServer(stopped=["s.swap"])) == []
    assert wrong_in(["swap"], expected(swap="s.swap"), StandInServer(stopped=["s.swap"])) == [
        "the unit s.swap is failed"
    ]


def test_capacity_knows_no_swap() -> None:
    """A server's memory is MemTotal, however much it can swap."""
    meminfo = "MemTotal:        4000000 kB\nMemFree: 1 kB\nSwapTotal:  {} kB\n"
    facts = {"cpu_cores": 2, "disk_total_bytes": 2**38, "disk_free_bytes": 2**37}
    found = {
        estimate(parse_specs(facts | {"ram_total_bytes": memory_bytes(meminfo.format(swap))})) for swap in (0, 8000000)
    }
    assert len(found) == 1
