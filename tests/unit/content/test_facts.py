"""How a server's facts are read, and what the modules that change things make of what they find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ocore_facts
import ocore_json
import ocore_package_manager
import pytest
from ansible.module_utils.ocore_docker import DockerUnavailable
from ansible.module_utils.ocore_manifest import ManifestError, empty
from ansible.module_utils.ocore_marker import parse_marker
from ansible.module_utils.ocore_package_locks import cloud_init_runs
from ansible.module_utils.ocore_packages import installed_packages, unfinished_packages
from ansible.module_utils.ocore_system import (
    describe_os,
    legacy_quota,
    memory_bytes,
    nearest_existing,
    parse_os_release,
    unified_quota,
    usable_cores,
)
from ansible.module_utils.ocore_text import plain, read_text
from ansible.module_utils.ocore_versions import at_least, upstream

DEBIAN = """PRETTY_NAME="Debian GNU/Linux 13 (trixie)"
NAME="Debian GNU/Linux"
VERSION_ID="13"
VERSION_CODENAME=trixie
# ID=other
ID=debian
"""
UBUNTU = "NAME='Ubuntu'\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n"


class StandIn:
    """A Docker that gives prepared answers, by the beginning of the path."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    def get(self, path: str) -> Any:
        """Return the answer; an exception is raised."""
        answer = next(answer for start, answer in self._answers.items() if path.startswith(start))
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_debian_has_its_point_release() -> None:
    """Debian's os-release knows the major version only; the point release comes from debian_version."""
    assert describe_os(parse_os_release(DEBIAN), "13.1\n") == {
        "os_id": "debian",
        "os_like": [],
        "os_name": "Debian GNU/Linux",
        "os_version": "13.1",
        "os_version_id": "13",
        "os_codename": "trixie",
    }


def test_a_testing_debian_has_the_version_of_its_os_release() -> None:
    """Where debian_version is a name and not a number, it is no version."""
    assert describe_os(parse_os_release(DEBIAN), "trixie/sid\n")["os_version"] == "13"


def test_ubuntu_is_not_taken_for_debian() -> None:
    """Ubuntu has a debian_version, too, which says nothing of Ubuntu."""
    found = describe_os(parse_os_release(UBUNTU), "13.0\n")
    assert (found["os_id"], found["os_like"], found["os_version"]) == ("ubuntu", ["debian"], "24.04")


def test_a_system_that_says_nothing_is_described_all_the_same() -> None:
    """Without an os-release file the facts are there, and empty."""
    found = describe_os(parse_os_release(""), "")
    assert (found["os_id"], found["os_version"], found["os_codename"]) == ("linux", "", "")


def test_memory_is_all_of_it_without_swap() -> None:
    """Memory is MemTotal, in bytes; 0 where it is not said."""
    assert memory_bytes("MemTotal:        8131624 kB\nSwapTotal: 100 kB\n") == 8131624 * 1024
    assert memory_bytes("") == 0


@pytest.mark.parametrize(
    ("allowed", "quotas", "cores"),
    [(4, [], 4), (4, [None, None], 4), (4, [2.5, None], 2), (4, [0.5], 1), (2, [8.0], 2)],
)
def test_a_quota_limits_the_cores(allowed: int, quotas: list[float | None], cores: int) -> None:
    """Cores are those allowed, or what the smallest quota leaves of them, rounded down, but at least one."""
    assert usable_cores(allowed, quotas) == cores


def test_quotas_are_read_of_both_hierarchies() -> None:
    """Both generations of control groups can set a quota, or none."""
    assert unified_quota("150000 100000\n") == 1.5
    assert unified_quota("max 100000\n") is None
    assert unified_quota("") is None
    assert legacy_quota("200000\n", "100000\n") == 2
    assert legacy_quota("-1\n", "100000\n") is None
    assert legacy_quota("100000", "0") is None


def test_the_disk_is_found_before_its_directory_is_made(tmp_path: Path) -> None:
    """The file system that will hold a directory is that of its nearest parent."""
    assert nearest_existing(str(tmp_path / "var" / "lib" / "docker")) == tmp_path
    assert nearest_existing("/") == Path("/")


def test_without_docker_its_facts_are_empty() -> None:
    """Where Docker does not answer there is no version, and nothing is used."""
    facts = ocore_facts.docker_facts(StandIn({"/": DockerUnavailable("it is not installed")}))
    assert facts == {"docker_version": None, "containers_running": 0, "own_disk_bytes": 0}


def test_everybodys_containers_are_counted_and_ours_are_weighed() -> None:
    """Running containers are everybody's; the disk is what ours wrote, and each of their images once."""
    ours = [{"ImageID": "a", "SizeRw": 10}, {"ImageID": "a", "SizeRw": None}, {"ImageID": "b"}]
    images = [{"Id": "a", "Size": 100}, {"Id": "b", "Size": 1000}, {"Id": "c", "Size": 10000}]
    docker = StandIn(
        {
            "/version": {"Version": "26.1.5"},
            "/containers/json?all": ours,
            "/containers/json": [{}, {}],
            "/images/json": images,
        }
    )
    facts = ocore_facts.docker_facts(docker)
    assert facts == {"docker_version": "26.1.5", "containers_running": 2, "own_disk_bytes": 1110}


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ('{"managedBy": "ocore", "serverId": "7"}', "7"),
        ('{"managedBy": "ocore", "serverId": ""}', ""),
        ('{"managedBy": "another", "serverId": "7"}', None),
        ("[]", None),
        ("", None),
        ("[" * 100_000, None),
    ],
)
def test_only_our_own_marker_counts(text: str, identity: str | None) -> None:
    """The id is that of a marker file of ours; anything else is no marker."""
    assert parse_marker(text) == identity


def test_a_text_from_a_host_is_one_short_printable_line() -> None:
    """Control characters, which could steer a terminal or forge a line, are gone, and the text is cut."""
    assert plain("a\x1b[2Jb\nc\u2028d\x9be\t") == "a [2Jb c d e"
    assert plain("x" * 1000) == "x" * 200


def test_a_file_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    """Missing files, directories and files that are too long do no harm."""
    (tmp_path / "long").write_text("x" * 100)
    assert read_text(str(tmp_path / "missing")) == ""
    assert read_text(str(tmp_path)) == ""
    assert read_text(str(tmp_path / "long"), 10) == "x" * 10


@pytest.mark.parametrize(
    ("version", "number"),
    [("26.1.5+dfsg1-9+b1", "26.1.5"), ("5:27.3.1-1~debian.12~bookworm", "27.3.1"), ("v24", "24"), ("unknown", "")],
)
def test_a_packages_version_holds_a_plain_number(version: str, number: str) -> None:
    """Epochs, revisions and suffixes are not part of the version that people mean."""
    assert upstream(version) == number


@pytest.mark.parametrize(
    ("version", "minimum", "reaches"),
    [("24", "24.0", True), ("9", "24", False), ("24.0.1", "24", True), ("22.04", "22.04", True), ("", "0", False)],
)
def test_versions_are_compared_as_numbers(version: str, minimum: str, reaches: bool) -> None:  # noqa: FBT001
    """9 is less than 24, and 24 the same as 24.0; what is no version reaches nothing."""
    assert at_least(version, minimum) is reaches


def test_only_whole_packages_are_installed(tmp_path: Path) -> None:
    """Packages that are removed, or half configured, are not installed; one on hold is."""
    status = """Package: curl
Status: install ok installed
Version: 8.14.1-2
Description: x
 Status: purge

Package: held
Essential: yes
Status: hold ok installed
Version: 1

Package: gone
Status: deinstall ok config-files
Version: 1

Package: half
Status: install ok half-configured
Version: 1

"""
    path = tmp_path / "status"
    path.write_text(status)
    assert installed_packages(str(path)) == {"curl": "8.14.1-2", "held": "1"}
    assert unfinished_packages(str(path), str(tmp_path / "none")) == ["half"]


def test_dpkgs_journal_is_half_done(tmp_path: Path) -> None:
    """A numbered file in dpkg's journal means that it was interrupted; its draft does not."""
    (tmp_path / "0004").touch()
    (tmp_path / "tmp.i").touch()
    assert unfinished_packages(str(tmp_path / "missing"), str(tmp_path)) == ["0004 of its journal"]


def test_apts_policy_tells_installed_from_candidate() -> None:
    """The version is the installed one, else the candidate; an unknown package has none."""
    policy = (
        "curl:\n  Installed: 8.14.1-2\n  Candidate: 8.15.0-1\n  Version table:\n *** 8.14.1-2 100\n"
        "docker.io:\n  Installed: (none)\n  Candidate: 26.1.5+dfsg1-9\n"
        "held:\n  Installed: (none)\n  Candidate: (none)\n"
    )
    assert ocore_package_manager.parse_policy(policy) == {"curl": "8.14.1", "docker.io": "26.1.5"}


@pytest.mark.parametrize(
    ("shown", "runs"),
    [
        ("ActiveState=active\nJob=0\n\nActiveState=activating\nJob=0", True),
        ("ActiveState=inactive\nJob=17", True),
        ("ActiveState=active\nJob=0\n\nActiveState=inactive\n", False),
        ("", False),
    ],
)
def test_cloud_init_runs_or_waits_to_run(shown: str, runs: bool) -> None:  # noqa: FBT001
    """A unit that is starting, or whose start is queued, means that cloud-init is not done."""
    assert cloud_init_runs(shown) is runs


def test_merging_keeps_what_others_have_put_there() -> None:
    """Inner objects are merged, other values replaced, and neither side is changed."""
    found = {"debug": True, "log-opts": {"max-size": "1m", "tag": "x"}, "hosts": ["a"]}
    wanted = {"log-opts": {"max-size": "10m"}, "hosts": ["b"]}
    result = ocore_json.merged(found, wanted)
    assert result == {"debug": True, "log-opts": {"max-size": "10m", "tag": "x"}, "hosts": ["b"]}
    assert found["log-opts"] == {"max-size": "1m", "tag": "x"}


@pytest.mark.parametrize("text", ["[]", "1", "{", "[" * 100_000])
def test_a_file_without_an_object_cannot_be_merged(text: str) -> None:
    """What is no JSON object is refused rather than replaced."""
    with pytest.raises(ValueError, match=r"."):
        ocore_json.parse(text)


def test_an_empty_file_holds_nothing() -> None:
    """An empty file is as good as one with an empty object."""
    assert ocore_json.parse(" \n") == {}


@pytest.mark.parametrize(
    ("entries", "ours"),
    [
        ([], False),
        ([{"kind": "file", "path": ocore_facts.DOCKER_REPOSITORIES[0]}], True),
        (ManifestError("damaged"), False),
    ],
)
def test_dockers_repository_is_ours_by_the_manifest(
    entries: Any,
    ours: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is ours only where the manifest says so, and a manifest that cannot be read says nothing."""

    def load() -> Any:
        if isinstance(entries, Exception):
            raise entries
        return dict(empty(), entries=entries)

    monkeypatch.setattr(ocore_facts, "load", load)
    assert ocore_facts.docker_repository_ours() is ours
