"""What cleaning up takes away, and what it leaves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import ocore_undo
import pytest
from ansible.module_utils.ocore_apt import Simulation
from ansible.module_utils.ocore_docker import DockerUnavailable
from ansible.module_utils.ocore_manifest import empty
from ansible.module_utils.ocore_present import Present
from ansible.module_utils.ocore_recording import record
from ansible.module_utils.ocore_undoing import (
    GONE,
    REMOVED,
    UNDOERS,
    Outcome,
    Undo,
    UndoError,
    listed,
    ordered,
    text_without,
)
from ansible.module_utils.ocore_unpackaging import Installed, choose, docker_use, purgeable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

# --- packages ---------------------------------------------------------------------------------------------------------


def package(name: str, step: str = "packages", **more: Any) -> dict[str, Any]:
    """Return an entry for a package; one that apt told about unless it is said otherwise."""
    return {"kind": "package", "name": name, "step": step, **({"told": True} if "brought" not in more else {}), **more}


def manifest_of(*entries: dict[str, Any], before: Collection[str] = ("bash",)) -> dict[str, Any]:
    """Return a manifest with these entries."""
    return {**empty(), "entries": list(entries), "packages_before": {"installed": list(before), "config_files": []}}


def apt(**needs: str) -> Callable[[Collection[str]], Simulation]:
    """Return an apt that knows which packages need which: `git="libcurl"` goes when libcurl goes."""

    def simulate(names: Collection[str]) -> Simulation:
        going = set(names)
        for _ in needs:
            going |= {name for name, wanted in needs.items() if going.intersection(wanted.split())}
        return Simulation(going, set())

    return simulate


def installed(*names: str, automatic: Collection[str] = (), **recommends: str) -> Installed:
    """Return what is installed; bash always is."""
    wanted = {name: set(others.split()) for name, others in recommends.items()}
    return Installed({"bash", *names}, set(automatic), wanted)


def test_what_we_installed_goes_with_what_it_brought() -> None:
    """Recorded packages go together, whichever of them needs the other."""
    manifest = manifest_of(package("curl"), package("libcurl", brought=True))
    choice = choose(manifest, installed("curl", "libcurl"), "", apt(curl="libcurl"))
    assert (choice.go, choice.kept) == ({"curl", "libcurl"}, {})


def test_what_is_not_installed_any_more_is_no_matter() -> None:
    """A recorded package that somebody has removed since is not looked at."""
    choice = choose(manifest_of(package("curl")), installed(), "", apt())
    assert (choice.go, choice.kept) == (set(), {})


def test_what_others_need_stays() -> None:
    """A package stays when its removal would take one along that is not ours; the rest goes."""
    manifest = manifest_of(package("curl"), package("libcurl", brought=True), package("libz", brought=True))
    choice = choose(manifest, installed("curl", "libcurl", "libz", "git"), "", apt(curl="libcurl", git="libz"))
    assert (choice.go, choice.kept) == ({"curl", "libcurl"}, {"libz": "others need it: git"})


def test_what_stays_keeps_what_it_needs() -> None:
    """A package of ours that stays makes those stay that it needs itself."""
    manifest = manifest_of(package("curl"), package("libcurl", brought=True))
    choice = choose(manifest, installed("curl", "libcurl", "app"), "", apt(app="curl", curl="libcurl"))
    assert choice.go == set()
    assert set(choice.kept) == {"curl", "libcurl"}


def test_nothing_is_installed_by_removing() -> None:
    """A package stays when apt would put another one in its place."""

    def replaces(names: Collection[str]) -> Simulation:
        return Simulation(set(names), {"podman"})

    choice = choose(manifest_of(package("docker.io", "docker")), installed("docker.io"), "", replaces)
    assert (choice.go, choice.kept) == (set(), {"docker.io": "others need it: podman"})


def test_nothing_goes_of_which_apt_does_not_speak() -> None:
    """Where the simulation fails nobody knows what a removal takes along, so nothing is removed."""

    def silent(_: Collection[str]) -> Simulation:
        return Simulation(set(), set())

    choice = choose(manifest_of(package("curl")), installed("curl"), "", silent)
    assert (choice.go, choice.kept) == (set(), {"curl": "apt does not say who else needs it"})


@pytest.mark.parametrize("name", ["python3", "python3-minimal", "python3.13", "python3.13-minimal"])
def test_python_never_goes(name: str) -> None:
    """Ansible works with it, so it stays even where we installed it."""
    choice = choose(manifest_of(package(name)), installed(name), "", apt())
    assert (choice.go, list(choice.kept)) == (set(), [name])


def test_a_library_of_python_may_go() -> None:
    """Only the interpreter itself always stays."""
    assert choose(manifest_of(package("python3-apt")), installed("python3-apt"), "", apt()).go == {"python3-apt"}


def test_docker_stays_whole_while_others_use_it() -> None:
    """All of Docker's packages stay, those that came along too; what is not Docker's goes."""
    manifest = manifest_of(package("curl"), package("docker.io", "docker"), package("runc", "docker", brought=True))
    choice = choose(manifest, installed("curl", "docker.io", "runc"), "others use Docker: containers shop", apt())
    assert choice.go == {"curl"}
    assert set(choice.kept) == {"docker.io", "runc"}
    assert set(choice.kept.values()) == {"others use Docker: containers shop"}


def test_docker_goes_whole_or_not_at_all() -> None:
    """If one of Docker's packages is needed by others, none of them goes."""
    manifest = manifest_of(package("docker.io", "docker"), package("docker-cli", "docker"))
    choice = choose(manifest, installed("docker.io", "docker-cli", "lab"), "", apt(lab="docker-cli"))
    assert choice.go == set()
    assert set(choice.kept) == {"docker.io", "docker-cli"}


def test_what_a_newer_package_of_others_recommends_stays() -> None:
    """A library that came with ours stays if somebody's later package recommends it."""
    manifest = manifest_of(package("curl"), package("libidn", brought=True))
    choice = choose(manifest, installed("curl", "libidn", "mail", mail="libidn"), "", apt())
    assert (choice.go, choice.kept) == ({"curl"}, {"libidn": "packages of others recommend it"})


def test_no_package_stays_without_a_reason() -> None:
    """A package that we installed by name stays for the same reason, and says so."""
    choice = choose(manifest_of(package("curl")), installed("curl", "mail", mail="curl"), "", apt())
    assert (choice.go, choice.kept) == (set(), {"curl": "packages of others recommend it"})


def test_what_an_older_package_recommends_goes() -> None:
    """What was recommended all along and was not there is not missed."""
    manifest = manifest_of(package("curl"), package("libidn", brought=True))
    assert choose(manifest, installed("curl", "libidn", bash="libidn"), "", apt()).go == {"curl", "libidn"}


def test_what_came_along_is_guessed_where_apt_did_not_tell() -> None:
    """Without a simulation at the time, automatic packages that were not there before are taken for brought ones."""
    manifest = manifest_of(package("docker-ce", "docker", told=False))
    there = installed("docker-ce", "pigz", "vim", "libvim", automatic={"bash", "pigz", "libvim"})
    choice = choose(manifest, there, "", apt(vim="libvim"))
    assert (choice.go, choice.kept) == ({"docker-ce", "pigz"}, {})


def test_configuration_of_before_is_not_purged() -> None:
    """Configuration files that were there before a package was installed are not ours."""
    manifest = {**empty(), "packages_before": {"installed": [], "config_files": ["curl"]}}
    assert purgeable({"curl", "git"}, manifest, lambda _: "") == {"git"}


@pytest.mark.parametrize("line", ["rm -rf /var/lib/docker", "\trm --recursive --force /var/lib/containerd || true"])
def test_a_package_that_would_delete_dockers_data_is_not_purged(line: str) -> None:
    """Whatever a package's clean-up script does, Docker's data stay."""
    scripts = {"docker-x": f"#!/bin/sh\n{line}\n", "curl": "#!/bin/sh\nrm -f /etc/curl\n"}
    assert purgeable(scripts, empty(), scripts.__getitem__) == {"curl"}


# --- who else uses Docker ---------------------------------------------------------------------------------------------


class StandInDocker:
    """A Docker that answers from a dictionary, and notes what is deleted."""

    def __init__(self, **answers: Any) -> None:
        """Take answers by path."""
        self.answers = answers
        self.deleted: list[str] = []
        self.refusal: tuple[int, Any] = (204, None)

    def get(self, path: str) -> Any:
        """Return the answer; one that is an exception is raised."""
        answer = self.answers.get(path)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def delete(self, path: str) -> tuple[int, Any]:
        """Note what is to be deleted, and answer as told."""
        self.deleted.append(path)
        return self.refusal


PROXY = {"kind": "container", "name": "ocore-proxy", "step": "proxy"}
NETWORK = {"kind": "network", "name": "ocore", "step": "runtime"}
IMAGE = {"kind": "image", "name": "caddy:2", "step": "proxy"}
OURS = {
    "/containers/json?all=1": [{"Id": "c1", "Names": ["/ocore-proxy"]}],
    "/containers/ocore-proxy/json": {"Id": "c1", "Config": {"Labels": {"sh.ocore.managed": "true"}}},
    "/images/json": [{"Id": "i1", "RepoTags": ["caddy:2"]}],
    "/images/caddy:2/json": {"Id": "i1"},
    "/volumes": {"Volumes": None},
    "/networks/ocore": {"Containers": {"c1": {"Name": "ocore-proxy"}}},
}


@pytest.mark.parametrize(
    ("answers", "use"),
    [
        ({}, ""),
        (
            {"/containers/json?all=1": [{"Id": "c1", "Names": ["/ocore-proxy"]}, {"Id": "c2", "Names": ["/shop"]}]},
            "others use Docker: containers shop",
        ),
        ({"/images/json": [{"Id": "i2", "RepoTags": None, "RepoDigests": []}]}, "others use Docker: images i2"),
        ({"/volumes": {"Volumes": [{"Name": "data"}]}}, "others use Docker: volumes data"),
    ],
)
def test_anything_of_others_in_docker_is_a_use_of_it(answers: dict[str, Any], use: str) -> None:
    """Containers, images and volumes that are not recorded count."""
    docker = StandInDocker(**{**OURS, **answers})
    assert docker_use(docker, manifest_of(PROXY, IMAGE), "/none") == use


def test_a_silent_docker_is_asked_by_its_data(tmp_path: Path) -> None:
    """Where Docker does not answer, what lies in its data counts, wherever its settings put them."""
    settings_file = tmp_path / "daemon.json"
    settings_file.write_text(json.dumps({"data-root": str(tmp_path / "data")}))
    silent = StandInDocker(**{"/containers/json?all=1": DockerUnavailable("silent")})
    assert docker_use(silent, manifest_of(PROXY), str(settings_file)) == ""
    (tmp_path / "data" / "containers" / ("ab" * 32)).mkdir(parents=True)
    (tmp_path / "data" / "volumes" / "shop" / "_data").mkdir(parents=True)
    (tmp_path / "data" / "volumes" / "metadata.db").write_text("")
    (tmp_path / "data" / "image" / "overlay2").mkdir(parents=True)
    (tmp_path / "data" / "image" / "overlay2" / "repositories.json").write_text('{"Repositories": {"nginx": {}}}')
    assert docker_use(silent, manifest_of(PROXY), str(settings_file)) == (
        "others use Docker: containers abababababab; images nginx; volumes shop"
    )


# --- what runs --------------------------------------------------------------------------------------------------------


class StandInPresent(Present):
    """A server whose units are given."""

    def __init__(self, docker: Any = None, units: dict[str, str] | None = None) -> None:
        """Take Docker, and the files of the units."""
        super().__init__(docker)
        self.units = units or {}

    def unit_file(self, name: str) -> str:
        """Return what is given."""
        return self.units.get(name, "")


def undo_of(*entries: dict[str, Any], docker: Any = None, units: dict[str, str] | None = None, **more: Any) -> Undo:
    """Return what the undoing functions work with; commands are noted in its `ran`."""
    docker = docker or StandInDocker(**OURS)
    ran: list[list[str]] = []
    undo = Undo(manifest_of(*entries), StandInPresent(docker, units), docker, ran.append, **more)
    undo.ran = ran  # type: ignore[attr-defined]
    return undo


def outcome(entry: dict[str, Any], undo: Undo | None = None) -> Outcome:
    """Return what becomes of an entry."""
    result: Outcome = UNDOERS[entry["kind"]](entry, undo or undo_of(entry))
    return result


UNIT = {"kind": "unit", "name": "ocore-proxy.service", "step": "proxy"}
UNIT_FILE = {"kind": "file", "path": "/etc/systemd/system/ocore-proxy.service", "step": "proxy", "digests": []}


def test_a_unit_of_ours_is_stopped_and_disabled() -> None:
    """A unit whose file is recorded is stopped before the file goes."""
    undo = undo_of(UNIT, UNIT_FILE, units={"ocore-proxy.service": UNIT_FILE["path"]})
    assert outcome(UNIT, undo) == REMOVED
    assert undo.ran == [["systemctl", "disable", "--now", "--", "ocore-proxy.service"]]


@pytest.mark.parametrize("units", [{}, {"ocore-proxy.service": "/usr/lib/systemd/system/ocore-proxy.service"}])
def test_other_units_are_left_alone(units: dict[str, str]) -> None:
    """A unit that is gone, or that came with a package, is not stopped by us."""
    undo = undo_of(UNIT, UNIT_FILE, units=units)
    assert outcome(UNIT, undo) == GONE
    assert undo.ran == []


def test_what_is_ours_in_docker_goes() -> None:
    """Container, network and image are deleted."""
    docker = StandInDocker(**OURS)
    undo = undo_of(PROXY, NETWORK, IMAGE, docker=docker)
    assert [outcome(entry, undo) for entry in (PROXY, NETWORK, IMAGE)] == [REMOVED] * 3
    assert docker.deleted == ["/containers/ocore-proxy?force=1", "/networks/ocore", "/images/caddy:2"]


def test_what_is_gone_already_is_fine() -> None:
    """Nothing is deleted that is not there."""
    undo = undo_of(PROXY, NETWORK, IMAGE, docker=StandInDocker())
    assert [outcome(entry, undo) for entry in (PROXY, NETWORK, IMAGE)] == [GONE] * 3


def test_a_container_without_our_label_stays() -> None:
    """A container that only has the name of ours is somebody else's."""
    docker = StandInDocker(**{"/containers/ocore-proxy/json": {"Id": "c9", "Config": {"Labels": None}}})
    assert "lacks our label" in outcome(PROXY, undo_of(PROXY, docker=docker)).kept
    assert docker.deleted == []


def test_a_network_with_containers_of_others_stays() -> None:
    """A network is not taken away from under somebody's containers."""
    inside = {"c1": {"Name": "ocore-proxy"}, "c2": {"Name": "shop"}}
    docker = StandInDocker(**{"/networks/ocore": {"Containers": inside}})
    assert "(shop)" in outcome(NETWORK, undo_of(PROXY, NETWORK, docker=docker)).kept
    assert docker.deleted == []


def test_what_docker_refuses_to_delete_stays() -> None:
    """Docker's own reason is the reason."""
    docker = StandInDocker(**OURS)
    docker.refusal = (409, {"message": "image is being used by running container c2"})
    assert outcome(IMAGE, undo_of(IMAGE, docker=docker)).kept == (
        "image caddy:2: image is being used by running container c2"
    )


def test_check_mode_deletes_nothing() -> None:
    """What would go is said, and nothing is done."""
    docker = StandInDocker(**OURS)
    undo = undo_of(PROXY, UNIT, UNIT_FILE, docker=docker, units={UNIT["name"]: UNIT_FILE["path"]}, pretend=True)
    assert [outcome(PROXY, undo), outcome(UNIT, undo)] == [REMOVED, REMOVED]
    assert (docker.deleted, undo.ran) == ([], [])


# --- files ------------------------------------------------------------------------------------------------------------


def file_entry(path: Path, content: str = "ours\n", step: str = "runtime") -> dict[str, Any]:
    """Return the entry that recording makes of a file."""
    want = {"kind": "file", "path": str(path), "content": content}
    entry: dict[str, Any] = record(empty(), step, [want], StandInPresent())["entries"][0]
    return entry


def test_a_file_of_ours_goes(tmp_path: Path) -> None:
    """A file that holds what we wrote is removed, and that it is gone already is fine."""
    entry = file_entry(tmp_path / "a")
    (tmp_path / "a").write_text("ours\n")
    assert outcome(entry) == REMOVED
    assert outcome(entry) == GONE
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_changed_stays(tmp_path: Path) -> None:
    """What somebody has written into our file is not deleted."""
    entry = file_entry(tmp_path / "a")
    (tmp_path / "a").write_text("ours, and more\n")
    assert outcome(entry).kept == f"file {tmp_path}/a: it was changed after it was put here"
    assert (tmp_path / "a").read_text() == "ours, and more\n"


def test_a_link_in_a_files_place_stays(tmp_path: Path) -> None:
    """A link is never followed, even if the file at its end is like ours."""
    entry = file_entry(tmp_path / "a")
    (tmp_path / "other").write_text("ours\n")
    (tmp_path / "a").symlink_to(tmp_path / "other")
    assert outcome(entry).kept
    assert (tmp_path / "other").exists()


def test_what_a_file_replaced_is_put_back(tmp_path: Path) -> None:
    """Content and mode of before are there again, and doing it twice is fine."""
    path = tmp_path / "a"
    path.write_bytes(b"theirs\xff")
    path.chmod(0o640)
    entry = file_entry(path)
    path.write_text("ours\n")
    assert outcome(entry) == REMOVED
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"theirs\xff", 0o640)
    assert outcome(entry) == GONE


def test_a_fetched_file_goes_whatever_it_holds(tmp_path: Path) -> None:
    """A file without digests was not there before, so all of it is ours."""
    want = {"kind": "file", "path": str(tmp_path / "key")}
    [entry] = record(empty(), "docker", [want], StandInPresent())["entries"]
    (tmp_path / "key").write_text("whatever came")
    assert outcome(entry) == REMOVED


def test_files_of_a_docker_that_stays_stay(tmp_path: Path) -> None:
    """A Docker that others use keeps its package source and its settings."""
    entry = file_entry(tmp_path / "a", step="docker")
    (tmp_path / "a").write_text("ours\n")
    assert (
        outcome(entry, undo_of(entry, docker_stays=True)).kept
        == f"file {tmp_path}/a: it belongs to Docker, which stays"
    )


def test_an_empty_directory_goes(tmp_path: Path) -> None:
    """A directory goes only if nothing is in it."""
    entry = {"kind": "directory", "path": str(tmp_path / "d"), "step": "runtime"}
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "note").write_text("")
    assert outcome(entry).kept == f"directory {tmp_path}/d: it is not empty (note)"
    (tmp_path / "d" / "note").unlink()
    assert outcome(entry) == REMOVED
    assert outcome(entry) == GONE


def test_check_mode_knows_what_would_be_gone_from_a_directory(tmp_path: Path) -> None:
    """What is recorded does not keep its directory in check mode, for it would have gone before."""
    entry = {"kind": "directory", "path": str(tmp_path), "step": "runtime"}
    (tmp_path / "a").write_text("")
    inside = file_entry(tmp_path / "b")
    (tmp_path / "a").rename(tmp_path / "b")
    assert outcome(entry, undo_of(entry, inside, pretend=True)) == REMOVED
    assert tmp_path.exists()


def test_what_is_in_a_directory_goes_before_it() -> None:
    """Entries are taken away from the deepest path upwards."""
    entries = [{"kind": "directory", "path": path} for path in ("/etc/ocore", "/etc/ocore/proxy", "/etc/cni")]
    assert [entry["path"] for entry in ordered(entries)] == ["/etc/ocore/proxy", "/etc/ocore", "/etc/cni"]


# --- settings in a JSON file of others' -------------------------------------------------------------------------------

CONTAINS = {"log-driver": "json-file", "log-opts": {"max-size": "10m"}, "live-restore": True}


def settings(original: str | None) -> dict[str, Any]:
    """Return an entry for a file with our settings."""
    return {"kind": "json", "path": "/x", "step": "docker", "contains": CONTAINS, "original": original}


def test_a_file_with_nothing_but_our_settings_goes() -> None:
    """Where there was no file, none is left."""
    assert text_without(json.dumps(CONTAINS), settings(None)) == ""


def test_settings_of_others_stay() -> None:
    """Only our keys are taken out of what has become of the file."""
    text = json.dumps({**CONTAINS, "log-opts": {"max-size": "10m", "tag": "x"}, "debug": True})
    assert json.loads(text_without(text, settings(None)) or "") == {"log-opts": {"tag": "x"}, "debug": True}


def test_a_file_is_put_back_to_the_letter() -> None:
    """Where nothing but our settings has changed, the text of before is there again, however it was written."""
    original = '{"debug":true,\n\t"log-opts": {"max-size": "1g"} }'
    now = json.dumps({"debug": True, **CONTAINS}, indent=2)
    assert text_without(now, settings(original)) == original


def test_values_of_before_come_back_beside_later_changes() -> None:
    """Where others have changed something as well, their change stays and our keys have the values of before."""
    original = '{"log-opts": {"max-size": "1g"}}'
    now = json.dumps({**CONTAINS, "debug": True})
    assert json.loads(text_without(now, settings(original)) or "") == {"log-opts": {"max-size": "1g"}, "debug": True}


@pytest.mark.parametrize("text", ["{", "[]", "null"])
def test_what_is_no_json_any_more_is_left_alone(text: str) -> None:
    """A file that cannot be understood is not touched."""
    assert text_without(text, settings(None)) is None


def test_a_setting_that_was_changed_is_named(tmp_path: Path) -> None:
    """A key of ours that somebody has set to something else stays as it is, and is named."""
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps({**CONTAINS, "log-opts": {"max-size": "5m"}}))
    entry = {**settings(None), "path": str(path)}
    found = outcome(entry)
    assert found.changed
    assert "log-opts.max-size was set to something else" in found.kept
    assert json.loads(path.read_text()) == {"log-opts": {"max-size": "5m"}}


def test_taking_settings_out_twice_is_fine(tmp_path: Path) -> None:
    """What is already as it was before is not touched, and nothing is named."""
    path = tmp_path / "daemon.json"
    original = '{"log-opts": {"max-size": "1g"}}'
    path.write_text(json.dumps(CONTAINS))
    entry = {**settings(original), "path": str(path)}
    assert outcome(entry) == REMOVED
    assert path.read_text() == original
    assert outcome(entry) == GONE


# --- the module -------------------------------------------------------------------------------------------------------


def test_long_lists_are_cut() -> None:
    """A sentence names a few things and counts the rest."""
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_the_summary_is_one_line() -> None:
    """What a person reads in the log names what is gone and what stays."""
    assert ocore_undo.summary([], []) == "removed: nothing"
    assert ocore_undo.summary(["file /a"], ["file /b: changed"]) == "removed: file /a; kept: file /b: changed"


def test_systemd_is_told_when_a_unit_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last file of a unit has gone systemd reads its units again."""
    monkeypatch.setattr(ocore_undo, "UNITS", f"{tmp_path}/")
    entry = file_entry(tmp_path / "a.service")
    (tmp_path / "a.service").write_text("ours\n")
    undo = undo_of(entry)
    assert ocore_undo.undo_kind(undo, "file") == ([f"file {tmp_path}/a.service"], [])
    assert undo.ran == [["systemctl", "daemon-reload"]]


def test_docker_is_not_restarted_under_containers_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With containers of others running, the notes say that our settings are still in use; else Docker is restarted."""
    path = tmp_path / "daemon.json"
    monkeypatch.setattr(ocore_undo, "DOCKER_CONFIGURATION", str(path))
    entry = {**settings(None), "path": str(path)}
    for running, ran in ([{"Id": "c2", "Names": ["/shop"]}], []), ([], [["systemctl", "restart", "docker.service"]]):
        path.write_text(json.dumps(CONTAINS))
        undo = undo_of(entry, docker=StandInDocker(**{**OURS, "/containers/json": running}))
        _, notes = ocore_undo.undo_kind(undo, "json")
        assert (bool(notes), undo.ran) == (bool(running), ran)


def test_a_failing_command_stops_it() -> None:
    """What cannot be taken away is an error, not a note."""

    def fail(command: list[str]) -> None:
        raise UndoError(" ".join(command))

    undo = undo_of(UNIT, UNIT_FILE, units={UNIT["name"]: UNIT_FILE["path"]})
    undo.run = fail
    with pytest.raises(UndoError, match="systemctl disable"):
        outcome(UNIT, undo)
