"""What a look finds, and which steps are due by it."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import socket
from typing import TYPE_CHECKING, Any

import ocore_look
import pytest
from ansible.module_utils.ocore_conditions import KINDS, differing_key, reasons, units_of, why_not
from ansible.module_utils.ocore_docker import DockerUnavailable
from ansible.module_utils.ocore_reading import Host, parse_timestamp, parse_units

if TYPE_CHECKING:
    from pathlib import Path

STEPS = [
    {"name": "packages", "needs": [], "wants": []},
    {"name": "docker", "needs": ["packages"], "wants": []},
    {"name": "runtime", "needs": ["docker"], "wants": []},
    {"name": "proxy", "needs": ["runtime"], "wants": []},
    {"name": "verify", "needs": ["packages", "docker", "runtime", "proxy"], "wants": []},
]
ALL = ["packages", "docker", "runtime", "proxy", "verify"]


class StandIn(Host):
    """A host whose readings are given; a reading that is an exception is raised."""

    def __init__(self, **readings: Any) -> None:
        super().__init__()
        self._readings = readings

    def __getattribute__(self, name: str) -> Any:
        """Return what is given for a reading."""
        readings = super().__getattribute__("__dict__").get("_readings", {})
        if name not in readings:
            return super().__getattribute__(name)
        if isinstance(readings[name], Exception):
            raise readings[name]
        return readings[name]


def due(*damaged: str, **options: Any) -> list[str]:
    """Return which steps are due when these are damaged."""
    return ocore_look.due_steps(STEPS, damaged, {"force": False, "only": [], "due": [], **options})


# --- which steps are due ----------------------------------------------------------------------------------------------


def test_nothing_is_due_on_a_server_that_is_as_it_should_be() -> None:
    """Where no step is damaged, nothing is due, not even `verify`."""
    assert due() == []


def test_a_damaged_step_takes_those_that_need_it_along() -> None:
    """A damaged step, all that depend on it directly or through others, and `verify` at the end are due."""
    assert due("docker") == ["docker", "runtime", "proxy", "verify"]


def test_what_is_due_comes_in_the_order_of_the_steps() -> None:
    """The order of the steps holds, whatever the order in which damage is found."""
    assert due("proxy", "packages") == ALL


def test_the_last_step_has_no_dependents() -> None:
    """Damage to the last step concerns that step and `verify`."""
    assert due("proxy") == ["proxy", "verify"]


def test_force_makes_everything_due() -> None:
    """With force every step is due."""
    assert due(force=True) == ALL


def test_only_limits_what_is_due() -> None:
    """Steps that were not asked for are not due, however damaged; `verify` still follows."""
    assert due("packages", only=["docker"]) == ["docker", "verify"]
    assert due("packages", only=["packages"]) == ["packages", "verify"]


def test_only_of_what_is_so_is_nothing() -> None:
    """Asking for a step that is so makes nothing due."""
    assert due("proxy", only=["docker"]) == []


def test_a_server_that_was_not_verified_is_verified() -> None:
    """`verify` has a condition of its own: it is due alone where all else is so, and not without being asked for."""
    assert due("verify") == ["verify"]
    assert due("verify", only=["verify"]) == ["verify"]
    assert due("verify", only=["docker"]) == []


def test_verify_alone_can_be_forced() -> None:
    """`verify` runs when it is asked for by force, and then no other step does."""
    assert due(force=True, only=["verify"]) == ["verify"]


def test_what_was_due_stays_due() -> None:
    """A step that was due when the run began, and what depends on it, is due after it was mended, too."""
    assert due(due=["docker"]) == ["docker", "runtime", "proxy", "verify"]


@pytest.mark.parametrize(
    ("steps", "force", "says"),
    [(["docker", "runtime"], False, ["depends on docker"]), (["runtime"], True, ["forced"]), ([], False, [])],
)
def test_it_says_why_a_step_is_due_that_is_so(steps: list[str], force: bool, says: list[str]) -> None:  # noqa: FBT001
    """A step whose conditions hold is due for another's sake, or by force, or not at all."""
    assert ocore_look.why_due(STEPS[2], steps, force=force) == says


def test_a_look_reports_each_step(tmp_path: Path) -> None:
    """For each step it says whether it is so, of how many conditions, and why not."""
    missing = {"kind": "directory", "path": str(tmp_path / "missing")}
    there = {"kind": "directory", "path": str(tmp_path)}
    steps = [{"name": "a", "needs": [], "wants": [there, missing]}, {"name": "b", "needs": [], "wants": [there]}]
    assert ocore_look.look(steps) == {
        "a": {"so": False, "conditions": 2, "reasons": [f"directory {tmp_path}/missing is not there"]},
        "b": {"so": True, "conditions": 1, "reasons": []},
    }


def test_a_look_stays_small() -> None:
    """However much is wrong, a step has at most ten reasons of at most 200 characters."""
    wants = [{"kind": "file", "path": f"/missing/{'x' * 300}", "content": ""}] * 50
    found = ocore_look.look([{"name": name, "needs": [], "wants": wants} for name in ALL])
    assert len(json.dumps(found)) < 32 * 1024
    assert {len(entry["reasons"]) for entry in found.values()} == {10}


# --- conditions -------------------------------------------------------------------------------------------------------


def test_a_package_is_installed_or_not() -> None:
    """A package condition asks whether a package of that very name is installed."""
    host = StandIn(packages={"curl": "8.14.1"})
    assert why_not({"kind": "package", "name": "curl"}, host) is None
    assert why_not({"kind": "package", "name": "cur"}, host) == "package cur is not installed"


def test_dpkg_is_at_rest_or_was_interrupted() -> None:
    """A few of the packages that were left half done are named."""
    assert why_not({"kind": "packages_at_rest"}, StandIn(unfinished=[])) is None
    why = why_not({"kind": "packages_at_rest"}, StandIn(unfinished=list("abcdefgh")))
    assert why == "the package manager was interrupted: a, b, c, d, e"


def test_a_file_is_compared_with_its_content(tmp_path: Path) -> None:
    """A file must have the very content that is wanted, also where only its length is right."""
    path = tmp_path / "file"
    path.write_text("wanted\n")
    want = {"kind": "file", "path": str(path), "content": "wanted\n"}
    assert why_not(want, Host()) is None
    assert why_not({**want, "content": "WANTED\n"}, Host()) == f"file {path} has another content"
    assert why_not({**want, "content": "wanted"}, Host()) == f"file {path} has another content"


def test_a_file_that_is_fetched_is_compared_with_its_digest(tmp_path: Path) -> None:
    """Where the content is only known by its digest, that is compared."""
    path = tmp_path / "file"
    path.write_text("wanted\n")
    want = {"kind": "file", "path": str(path), "sha256": hashlib.sha256(b"wanted\n").hexdigest()}
    assert why_not(want, Host()) is None
    path.write_text("edited\n")
    assert why_not(want, Host()) == f"file {path} has another content"


def test_a_link_is_no_file(tmp_path: Path) -> None:
    """A symbolic link where a file is wanted is said to be none, wherever it points."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    want = {"kind": "file", "path": str(tmp_path / "link"), "content": "x"}
    assert why_not(want, Host()) == f"{tmp_path}/link is no regular file"


def test_owner_group_and_mode_count_where_they_are_named(tmp_path: Path) -> None:
    """A directory's owner, group and mode are compared as far as the condition names them."""
    tmp_path.chmod(0o750)
    found = tmp_path.stat()
    user, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
    want = {"kind": "directory", "path": str(tmp_path)}
    assert why_not({**want, "owner": user, "group": group, "mode": "0750"}, Host()) is None
    assert why_not({**want, "owner": "nobody"}, Host()) == f"{tmp_path} belongs to {user}, not to nobody"
    assert why_not({**want, "group": "nogroup"}, Host()) == f"{tmp_path} belongs to group {group}, not to nogroup"
    assert why_not({**want, "mode": "0755"}, Host()) == f"{tmp_path} has mode 0750, not 0755"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "b": {"c": [2], "d": 3}}', None),
        ('{"a": 1, "b": {"c": [2, 3]}}', "b.c is not as wanted"),
        ('{"a": 1}', "b is not as wanted"),
        ("[]", "the whole is not as wanted"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_json_file_contains_what_is_wanted(tmp_path: Path, text: str, says: str | None) -> None:
    """Inner objects are searched, everything else must be equal; the first difference is named."""
    path = tmp_path / "file.json"
    path.write_text(text)
    why = why_not({"kind": "json", "path": str(path), "contains": {"a": 1, "b": {"c": [2]}}}, Host())
    assert why is None if says is None else why is not None and why.endswith(says)


UNIT = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "FragmentPath": "/etc/a.service"}


@pytest.mark.parametrize(
    ("unit", "says"),
    [
        (UNIT, None),
        ({**UNIT, "ActiveState": "failed"}, "unit a.service is failed"),
        ({**UNIT, "UnitFileState": "disabled"}, "unit a.service is disabled"),
        (
            {**UNIT, "FragmentPath": "/lib/a.service"},
            "unit a.service comes from /lib/a.service, not from /etc/a.service",
        ),
        ({"LoadState": "not-found"}, "unit a.service is not there"),
    ],
)
def test_a_unit_is_there_and_runs(unit: dict[str, str], says: str | None) -> None:
    """A unit must be active, enabled and from its file, as far as the condition says so."""
    want = {"kind": "unit", "name": "a.service", "active": True, "enabled": True, "path": "/etc/a.service"}
    assert why_not(want, StandIn(units={"a.service": unit})) == says


STARTED = {**UNIT, "ActiveEnterTimestamp": "Tue 2025-11-25 22:04:43 UTC"}


@pytest.mark.parametrize(("seconds", "says"), [(0, None), (1, "unit a.service is older than {}")])
def test_a_unit_is_newer_than_what_it_reads(tmp_path: Path, seconds: int, says: str | None) -> None:
    """A program that was started before a file of its was last written works by the older one."""
    file, at = tmp_path / "token", 1764108283 + seconds
    file.write_text("x")
    os.utime(file, (at, at))
    want = {"kind": "unit", "name": "a.service", "newer_than": [str(file), str(tmp_path / "none")]}
    assert why_not(want, StandIn(units={"a.service": STARTED})) == (says and says.format(file))


CONTAINER = {"Created": 0, "State": "running", "Image": "caddy:2", "Labels": {"sh.ocore.managed": "true", "other": "1"}}


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (CONTAINER, None),
        ({**CONTAINER, "State": "exited"}, "container proxy is exited"),
        ({**CONTAINER, "Image": "sha256:1"}, "container proxy runs sha256:1, not caddy:2"),
        ({**CONTAINER, "Labels": None}, "container proxy: label sh.ocore.managed is not as wanted"),
    ],
)
def test_a_container_runs_as_wanted(found: dict[str, Any], says: str | None) -> None:
    """A container must run, from its image, with its labels."""
    want = {"kind": "container", "name": "proxy", "image": "caddy:2", "labels": {"sh.ocore.managed": "true"}}
    assert why_not(want, StandIn(containers={"proxy": found})) == says
    assert why_not(want, StandIn(containers={})) == "container proxy is not there"


def test_docker_runs_as_wanted() -> None:
    """The daemon that runs must be new enough, and have taken its configuration."""
    want = {"kind": "docker", "at_least": "24", "info": {"LiveRestoreEnabled": True}}
    info = {"ServerVersion": "26.1.5+dfsg1", "LiveRestoreEnabled": True}
    assert why_not(want, StandIn(docker_info=info)) is None
    assert (
        why_not(want, StandIn(docker_info={**info, "ServerVersion": "20.10.24"})) == "Docker is 20.10.24, older than 24"
    )
    not_taken = why_not(want, StandIn(docker_info={**info, "LiveRestoreEnabled": False}))
    assert not_taken == "the running Docker's LiveRestoreEnabled is not as wanted"


@pytest.mark.parametrize(
    "want",
    [
        {"kind": "container", "name": "proxy"},
        {"kind": "docker", "at_least": "24"},
    ],
    ids=["container", "docker"],
)
def test_what_runs_is_newer_than_its_files(tmp_path: Path, want: dict[str, Any]) -> None:
    """What was started before one of its files was last written may work by what was in it before."""
    path = tmp_path / "file"
    path.write_text("")
    os.utime(path, (1000.5, 1000.5))
    want = {**want, "newer_than": [str(tmp_path / "missing"), str(path)]}

    def why(since: int) -> str | None:
        containers = {"proxy": {**CONTAINER, "Created": since}}
        host = StandIn(containers=containers, docker_info={"ServerVersion": "26.1.5"}, docker_started=since)
        return why_not(want, host)

    assert why(1000) is None
    assert str(why(999)).endswith(f" is older than {path}")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("Tue 2025-11-25 22:04:43 UTC", 1764108283), ("", 0), ("n/a", 0), ("Tue 2025-11-25 22:04:43 CET", 0)],
)
def test_systemds_times_are_read(text: str, seconds: int) -> None:
    """A time in UTC is read; anything else is taken for none, which is older than any file."""
    assert parse_timestamp(text) == seconds


def test_without_docker_nothing_of_docker_is_so() -> None:
    """Where Docker does not answer, its conditions do not hold, and say so; the others are read all the same."""
    silent = DockerUnavailable("Docker does not answer: no such file")
    host = StandIn(docker_info=silent, containers=silent, networks=silent, packages={"curl": "8"})
    wants = [
        {"kind": "docker", "at_least": "24"},
        {"kind": "network", "name": "ocore"},
        {"kind": "absent", "container": "old"},
        {"kind": "package", "name": "curl"},
    ]
    assert reasons(wants, host) == ["Docker does not answer: no such file"] * 3


def test_a_port_answers_or_not() -> None:
    """A port condition holds where something accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert why_not({"kind": "port", "port": port}, Host()) is None
    assert why_not({"kind": "port", "port": port}, Host()) == f"nothing answers at port {port}"


def test_what_should_be_absent_is(tmp_path: Path) -> None:
    """Paths (also links to nothing), units and containers can be wanted absent."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    host = StandIn(units={"a.service": UNIT, "b.service": {"LoadState": "not-found"}}, containers={"old": CONTAINER})
    assert why_not({"kind": "absent", "path": str(link)}, host) == f"{link} is there"
    assert why_not({"kind": "absent", "unit": "a.service"}, host) == "unit a.service is there"
    assert why_not({"kind": "absent", "container": "old"}, host) == "container old is there"
    gone = {"kind": "absent", "path": str(tmp_path / "none"), "unit": "b.service", "container": "new"}
    assert why_not(gone, host) is None


@pytest.mark.parametrize("kind", [*sorted(KINDS), "unheard-of"])
def test_a_broken_condition_or_host_never_raises(kind: str) -> None:
    """Whatever is wrong, a condition does not hold, and says something."""
    broken = StandIn(packages=None, unfinished=5, units=None, containers=None, networks=None, docker_info=None)
    why = why_not({"kind": kind}, broken)
    assert why or kind == "absent"


def test_a_value_that_contains_more_is_as_wanted() -> None:
    """Only what is wanted is compared: other keys may be there."""
    assert differing_key({"a": 1, "b": 2}, {"a": 1}) is None
    assert differing_key({"a": 1}, {}) is None


def test_all_units_are_read_in_one_call() -> None:
    """The units of all conditions are known before the first is read."""
    wants = [
        {"kind": "unit", "name": "a.service"},
        {"kind": "absent", "unit": "b.service"},
        {"kind": "package", "name": "c"},
    ]
    assert units_of(wants) == ["a.service", "b.service"]


def test_what_systemctl_shows_is_read_unit_by_unit() -> None:
    """Each block is one unit; values may contain equals signs."""
    shown = "Id=a.service\nActiveState=active\nFragmentPath=/x=y\n\nId=b.service\nActiveState=inactive\n"
    assert parse_units(shown) == {
        "a.service": {"Id": "a.service", "ActiveState": "active", "FragmentPath": "/x=y"},
        "b.service": {"Id": "b.service", "ActiveState": "inactive"},
    }
    assert parse_units("") == {}
