"""Every supported system has its data in every role, for both architectures; and what rpm and dnf say is understood."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ocore_facts
import ocore_package_manager
import ocore_preflight as preflight
import pytest
from ansible.module_utils import ocore_packages
from ansible.module_utils import ocore_rpm as rpm
from ansible.module_utils.ocore_egress import addresses, dnf_sources, parse_repositories
from ansible.module_utils.ocore_packages import installed_packages, manager, unfinished_packages
from ansible.module_utils.ocore_system import describe_os, parse_os_release

from tests.unit.content.rendering import rendered
from tests.unit.test_content_agrees import ROLES, read

DATA = Path(__file__).parents[1] / "data" / "systems"
# The files are the systems' own /etc/os-release; each row is what the roles make of it.
SYSTEMS = {
    "debian-12": ("debian", "12", "apt"),
    "debian-13": ("debian", "13", "apt"),
    "ubuntu-22.04": ("ubuntu", "22.04", "apt"),
    "ubuntu-24.04": ("ubuntu", "24.04", "apt"),
    "rhel-9": ("rhel", "9.6", "dnf"),
    "rocky-9": ("rocky", "9.6", "dnf"),
    "almalinux-9": ("almalinux", "9.6", "dnf"),
    "amazon-2023": ("amzn", "2023", "dnf"),
}
ARCHITECTURES = ("amd64", "arm64")
# Of Docker: where it comes from besides Docker's own repository, and that repository.
DOCKER = {
    "debian": ("docker.io", "https://download.docker.com/linux/debian"),
    "ubuntu": ("docker.io", "https://download.docker.com/linux/ubuntu"),
    "rhel": (None, "https://download.docker.com/linux/rhel"),
    "rocky": (None, "https://download.docker.com/linux/centos"),
    "almalinux": (None, "https://download.docker.com/linux/centos"),
    "amzn": ("docker", ""),
}
RPMS = (
    "curl-minimal\tx86_64\t0:7.76.1-31.el9\n"
    "docker-ce\tx86_64\t3:27.3.1-1.el9\n"
    "kernel-core\tx86_64\t0:5.14.0-503.el9\n"
    "kernel-core\tx86_64\t0:5.14.0-570.el9\n"
    "gpg-pubkey\t(none)\t0:1-1\n"
    "gpg-pubkey\t(none)\t0:2-2\n"
)


def facts(system: str, architecture: str = "amd64") -> dict[str, Any]:
    """Return the facts of a system."""
    release = parse_os_release((DATA / f"{system}.os-release").read_text(encoding="utf-8"))
    return describe_os(release, "") | {"architecture": architecture, "package_manager": SYSTEMS[system][2]}


@pytest.fixture
def of_rpm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make this a system of rpm's; return the path of a dpkg that is not there."""
    (tmp_path / "rpmdb.sqlite").touch()
    monkeypatch.setattr(rpm, "DATABASES", (str(tmp_path),))
    monkeypatch.setattr(rpm, "output", lambda _command: RPMS)
    return str(tmp_path / "status")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_is_known_by_its_own_os_release(system: str) -> None:
    """Its id and version are those that data and preflight go by."""
    found = facts(system)
    assert (found["os_id"], found["os_version_id"]) == SYSTEMS[system][:2]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_preflight_takes_the_system(system: str, architecture: str) -> None:
    """On both architectures; an older release is refused."""
    data = read(ROLES / "preflight" / "vars" / "main.yml")
    options = {"systems": data["__preflight_systems"], "architectures": data["__preflight_architectures"]}
    found = facts(system, architecture) | {"init": "systemd"}
    assert preflight.check_system(found, options) == []
    [finding] = preflight.check_system(found | {"os_version_id": "7"}, options)
    assert finding.code == "os_unsupported"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("role", ["packages", "swap", "security", "docker", "runtime", "proxy"])
def test_a_role_has_its_data_for_the_system(role: str, system: str, architecture: str) -> None:
    """What a role wants can be told, and names no path of the other kind of system."""
    variables = {"security_enabled": True, "swap_mb": 512}
    state = rendered(f"{role}_state", role, facts=facts(system, architecture), **variables)
    assert state
    other = "/etc/yum" if SYSTEMS[system][2] == "apt" else "/etc/apt"
    assert [one for one in state if str(one.get("path", "")).startswith(other)] == []


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_where_docker_comes_from(system: str, architecture: str) -> None:
    """Its repository for system, release and architecture; the distribution's package where there is one."""
    found = facts(system, architecture)
    package, repository = DOCKER[found["os_id"]]
    data = rendered("__docker_os", "docker", facts=found)
    assert ([one["name"] for one in data["distribution"]] or [None])[0] == package
    assert data["repository"] == repository
    if not repository:
        assert data["official"] == []
        return
    probe = rendered("__docker_probe", "docker", facts=found)
    written = rendered("__docker_repository_files", "docker", facts=found)[-1]["content"]
    assert probe.startswith(repository + "/")
    assert repository in written
    if SYSTEMS[system][2] == "dnf":
        assert f"/9/{ {'amd64': 'x86_64', 'arm64': 'aarch64'}[architecture] }/" in probe
        assert "gpgcheck=1" in written
    else:
        assert f"Architectures: {architecture}" in written
        assert found["os_codename"] in probe


def test_dockers_packages_are_known_again() -> None:
    """The engine of each source is one by which the facts know where a Docker came from."""
    for system in SYSTEMS:
        data = rendered("__docker_os", "docker", facts=facts(system))
        for source in ("official", "distribution"):
            engines = [one["name"] for one in data[source][:1]]
            assert set(engines) <= set(ocore_facts.DOCKER_PACKAGES[SYSTEMS[system][2]])
            for engine in engines:
                known = facts(system) | {"docker_package": engine}
                assert rendered("__docker_origin", "docker", facts=known) == source


@pytest.mark.parametrize("system", ["rhel-9", "amazon-2023"])
def test_nothing_of_the_administrators_is_taken_away(system: str) -> None:
    """Where security is off, only what bears our name is to be absent."""
    state = rendered("security_state", "security", facts=facts(system))
    assert [one for one in state if "ocore" not in str(one.get("path") or one.get("unit") or one["table"])] == []


@pytest.mark.parametrize("role", ["packages", "docker", "security"])
def test_packages_are_installed_by_the_systems_own_manager(role: str) -> None:
    """Each task of apt's or dnf's runs only where that is the system's."""
    for file in (ROLES / role / "tasks").glob("*.yml"):
        for task in read(file) or []:
            for by in ("apt", "dnf"):
                if f"ansible.builtin.{by}" in task:
                    assert f"__{role}_by == '{by}'" in task["when"], f"{file.name}: {task['name']}"


def test_python_is_installed_by_dnf_where_there_is_no_apt() -> None:
    """The shell commands are whole, and the words of both about a lock are known."""
    script = rendered("__detect_install_python", "detect", ocore_run="r")
    assert "if command -v dnf >/dev/null && ! command -v apt-get >/dev/null; then timeout" in script
    words = read(ROLES / "detect" / "vars" / "main.yml")["__detect_lock_words"]
    assert re.search(words, "Waiting for process with pid 4711 to finish.")


def test_rpms_packages_are_read(of_rpm: str) -> None:
    """Name and version, without the epoch that says nothing; kernels are there side by side."""
    assert manager(of_rpm) == "dnf"
    assert installed_packages(of_rpm)["curl-minimal"] == "7.76.1-31.el9"
    assert installed_packages(of_rpm)["docker-ce"] == "3:27.3.1-1.el9"
    assert unfinished_packages(of_rpm) == []


def test_an_interrupted_update_is_seen(of_rpm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves two versions of a package; of two architectures there may be one each."""
    more = "a\ti686\t0:1-1\na\tx86_64\t0:1-1\nb\tnoarch\t0:1-1\nb\tnoarch\t0:2-1\n"
    monkeypatch.setattr(rpm, "output", lambda _command: RPMS + more)
    assert unfinished_packages(of_rpm) == ["b.noarch"]


def test_dpkg_comes_first(tmp_path: Path, of_rpm: str) -> None:
    """A Debian on which somebody has installed rpm is a Debian."""
    assert of_rpm
    (tmp_path / "dpkg").write_text("")
    assert manager(str(tmp_path / "dpkg")) == "apt"
    assert ocore_packages.installed_packages(str(tmp_path / "dpkg")) == {}


def test_dnfs_lock_is_a_living_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that names a process which has ended holds nothing."""
    for name, content in (("live", "1"), ("dead", "4194399"), ("empty", "")):
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(rpm, "PID_FILES", [str(tmp_path / name) for name in ("live", "dead", "empty", "missing")])
    assert rpm.pid_holders() == {1: str(tmp_path / "live")}


def test_versions_that_dnf_knows_are_read() -> None:
    """What is installed comes from rpm, the rest from dnf."""
    assert ocore_package_manager.parse_repoquery("docker-ce\t27.3.1\nodd line\n") == {"docker-ce": "27.3.1"}


def test_dnfs_sources_are_found(tmp_path: Path) -> None:
    """Enabled ones, with dnf's own variables; a host that is not known is none."""
    (tmp_path / "yum.repos.d").mkdir()
    (tmp_path / "dnf" / "vars").mkdir(parents=True)
    (tmp_path / "dnf" / "vars" / "awsregion").write_text("eu-west-1\n")
    (tmp_path / "yum.repos.d" / "a.repo").write_text(
        "[a]\nname=A\nbaseurl=https://a.example/$releasever/\n[off]\nbaseurl=http://off.example/\nenabled=0\n"
        "[m]\nmetalink = https://m.example/?repo=$releasever\nenabled = 1\n"
        "[r]\nmirrorlist=https://r-$awsregion.example/x\n[u]\nbaseurl=https://u-$unknown.example/\n"
    )
    found = dnf_sources("", str(tmp_path))
    assert found == [("a.example", 443), ("m.example", 443), ("r-eu-west-1.example", 443)]
    (tmp_path / "dnf" / "dnf.conf").write_text("[main]\nproxy=http://10.0.0.1:3128\n")
    assert dnf_sources("", str(tmp_path)) == [("10.0.0.1", 3128)]
    assert addresses(parse_repositories("", {})) == []
