"""What cleaning up takes away, and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ocore_undo
import pytest
from ansible.module_utils import ocore_undoing
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
from ansible.module_utils.ocore_unpackaging import Installed, choose, docker_use, familiar, postrm_of, purgeable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

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
    return Installed({"bash", *names}, set(automatic), wanted, {})


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


AUTOMATIC = ("bash", "pigz", "libz", "libvim", "orphan")


def test_what_came_along_is_guessed_where_apt_did_not_tell() -> None:
    """Without a simulation at the time, automatic packages that ours need and that were not there before are ours."""
    manifest = manifest_of(package("docker-ce", "docker", told=False))
    there = installed("docker-ce", "pigz", "libz", "vim", "libvim", "orphan", automatic=AUTOMATIC)
    there = there._replace(depends={"docker-ce": {"pigz", "bash"}, "pigz": {"libz"}, "libz": {"pigz"}})
    choice = choose(manifest, there, "", apt(vim="libvim"))
    assert (choice.go, choice.kept) == ({"docker-ce", "pigz", "libz"}, {})


def test_configuration_of_before_is_not_purged() -> None:
    """Configuration files that were there before a package was installed are not ours."""
    manifest = {**empty(), "packages_before": {"installed": [], "config_files": ["curl"]}}
    assert purgeable({"curl", "git"}, manifest, lambda _: "") == {"git"}


@pytest.mark.parametrize("line", ["rm -rf /var/lib/docker", "\trm --recursive --force /var/lib/containerd || true"])
def test_a_package_that_would_delete_dockers_data_is_not_purged(line: str) -> None:
    """Whatever a package's clean-up script does, Docker's data stay."""
    scripts = {"docker-x": f"#!/bin/sh\n{line}\n", "curl": "#!/bin/sh\nrm -f /etc/curl\n"}
    assert purgeable(scripts, empty(), scripts.__getitem__) == {"curl"}


def test_all_clean_up_scripts_of_a_package_are_read(tmp_path: Path) -> None:
    """A package of several architectures has one for each; one that cannot be read does not pass for a harmless one."""
    (tmp_path / "libx:amd64.postrm").write_text("one")
    (tmp_path / "libx.postrm").write_text("two")
    (tmp_path / "libx-dev.postrm").write_text("three")
    assert sorted(postrm_of("libx", str(tmp_path)).replace("two", "2 ").split()) == ["2", "one"]
    (tmp_path / "broken.postrm").symlink_to(tmp_path)
    with pytest.raises(OSError, match="directory"):
        postrm_of("broken", str(tmp_path))


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


class SilentDocker(StandInDocker):
    """A Docker that does not answer."""

    def get(self, path: str) -> Any:  # noqa: ARG002 - whatever is asked
        """Say nothing."""
        raise DockerUnavailable("it is silent")


PROXY = {"kind": "container", "name": "ocore-proxy", "step": "proxy"}
NETWORK = {"kind": "network", "name": "ocore", "step": "runtime"}
IMAGE = {"kind": "image", "name": "caddy:2", "step": "proxy"}
OUR_LABELS = {"sh.ocore.managed": "true"}
SHOP = {"Id": "c2", "Names": ["/shop"], "Labels": {"com.example": "shop"}}
OURS = {
    "/containers/json?all=1": [{"Id": "c1", "Names": ["/ocore-proxy"], "Labels": OUR_LABELS}],
    "/containers/ocore-proxy/json": {"Id": "c1", "Config": {"Labels": OUR_LABELS}},
    "/images/json": [{"Id": "i1", "RepoTags": ["caddy:2"]}],
    "/images/caddy:2/json": {"Id": "i1"},
    "/volumes": {"Volumes": None},
    "/networks/ocore": {"Id": "n1", "Name": "ocore", "Labels": OUR_LABELS},
}


@pytest.mark.parametrize(
    ("answers", "use"),
    [
        ({}, ""),
        ({"/containers/json?all=1": [SHOP]}, "others use Docker: containers shop"),
        # Somebody's own container by the name of ours, and one that a killed run has left.
        (
            {"/containers/json?all=1": [{"Id": "c9", "Names": ["/ocore-proxy"]}]},
            "others use Docker: containers ocore-proxy",
        ),
        ({"/containers/json?all=1": [{"Id": "c3", "Names": ["/left"], "Labels": OUR_LABELS}]}, ""),
        ({"/images/json": [{"Id": "i2", "RepoTags": None, "RepoDigests": []}]}, "others use Docker: images i2"),
        ({"/volumes": {"Volumes": [{"Name": "data"}]}}, "others use Docker: volumes data"),
        ({"/networks": [{"Name": "bridge"}, {"Name": "shop", "Labels": {}}]}, "others use Docker: networks shop"),
        ({"/networks": [{"Name": "host"}, {"Name": "ocore", "Labels": OUR_LABELS}]}, ""),
    ],
)
def test_anything_of_others_in_docker_is_a_use_of_it(answers: dict[str, Any], use: str) -> None:
    """Containers and networks without our label count, images that are not recorded, and all volumes."""
    docker = StandInDocker(**{**OURS, **answers})
    assert docker_use(docker, manifest_of(PROXY, IMAGE), "/none", runs=True) == use


def test_a_silent_docker_is_asked_by_its_data(tmp_path: Path) -> None:
    """Where Docker does not answer, what lies in its data counts, wherever its settings put them."""
    settings_file = tmp_path / "daemon.json"
    settings_file.write_text(json.dumps({"data-root": str(tmp_path / "data")}))
    silent = StandInDocker(**{"/containers/json?all=1": DockerUnavailable("silent")})
    manifest = manifest_of(PROXY, IMAGE)
    assert docker_use(silent, manifest, str(settings_file), runs=False) == ""
    for number, labels in (("ab", {}), ("cd", OUR_LABELS)):
        container = tmp_path / "data" / "containers" / (number * 32)
        container.mkdir(parents=True)
        (container / "config.v2.json").write_text(json.dumps({"Config": {"Labels": labels}}))
    (tmp_path / "data" / "volumes" / "shop" / "_data").mkdir(parents=True)
    (tmp_path / "data" / "volumes" / "metadata.db").write_text("")
    (tmp_path / "data" / "image" / "overlay2").mkdir(parents=True)
    (tmp_path / "data" / "image" / "overlay2" / "repositories.json").write_text(
        json.dumps({"Repositories": {"nginx": {"nginx:1": "i2"}, "caddy": {"caddy:2": "i1", "caddy@sha256:f": "i1"}}})
    )
    assert docker_use(silent, manifest, str(settings_file), runs=False) == (
        "others use Docker: containers abababababab; images nginx:1; volumes shop"
    )


def test_a_silent_docker_that_runs_stays() -> None:
    """What is in a Docker that hangs nobody can tell, so it is in use."""
    silent = StandInDocker(**{"/containers/json?all=1": DockerUnavailable("it hangs")})
    assert docker_use(silent, manifest_of(PROXY), "/none", runs=True).endswith("it hangs")


@pytest.mark.parametrize(
    ("image", "names"),
    [
        ("docker.io/library/caddy:2", {"caddy:2"}),
        ("docker.io/acme/caddy:2@sha256:f", {"acme/caddy:2", "acme/caddy@sha256:f"}),
        ("example.com:5000/caddy:2", {"example.com:5000/caddy:2"}),
    ],
)
def test_images_have_short_names_on_disk(image: str, names: set[str]) -> None:
    """Docker's data leave out what goes without saying."""
    assert familiar(image) == names


# --- what runs --------------------------------------------------------------------------------------------------------


class StandInPresent(Present):
    """A server whose units are given."""

    def __init__(self, docker: Any = None, units: dict[str, str] | None = None, packages: Any = None) -> None:
        """Take Docker, the files of the units, and the packages' states."""
        super().__init__(docker)
        self.units = units or {}
        self.tables: list[str] = []
        self.active: list[str] = []
        self.states = packages or {}

    @property
    def packages(self) -> dict[str, str]:  # type: ignore[override]
        """Return what is given."""
        return self.states

    def has_docker(self) -> bool:
        """Say that Docker is installed."""
        return True

    def has_table(self, name: str) -> bool:
        """Tell whether it is given."""
        return name in self.tables

    def is_active(self, name: str) -> bool:
        """Tell whether it is given."""
        return name in self.active

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


FIREWALL = {"kind": "nftables", "name": "inet ocore", "step": "security"}


def test_a_firewall_goes_whose_unit_never_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that died in between has left its table in the kernel, which would keep the server closed."""
    undo = undo_of(FIREWALL)
    undo.present.tables = ["inet ocore"]
    assert outcome(FIREWALL, undo) == REMOVED
    assert undo.ran == [["nft", "delete", "table", "inet", "ocore"]]
    pretended = undo_of(FIREWALL, pretend=True)
    pretended.present.tables = ["inet ocore"]
    assert (outcome(FIREWALL, pretended), pretended.ran) == (REMOVED, [])
    assert outcome(FIREWALL) == GONE
    monkeypatch.setattr("ansible.module_utils.ocore_present.PROGRAMS", "/nowhere")
    assert not Present().has_table("inet ocore")


def test_the_firewalls_guard_goes_first() -> None:
    """Its timer would load the rules of before when all has been taken away."""
    undo = undo_of(FIREWALL, units={ocore_undoing.GUARD: "/run/systemd/transient/guard.timer"})
    assert outcome(FIREWALL, undo) == GONE
    assert undo.ran == [["systemctl", "stop", "--", "ocore-firewall-guard.timer"]]


def test_what_is_ours_in_docker_goes() -> None:
    """Container, network and image are deleted."""
    docker = StandInDocker(**OURS)
    undo = undo_of(PROXY, NETWORK, IMAGE, docker=docker)
    assert [outcome(entry, undo) for entry in (PROXY, NETWORK, IMAGE)] == [REMOVED] * 3
    assert docker.deleted == ["/containers/c1?force=1", "/networks/n1", "/images/caddy:2"]


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
    """A network is not taken from somebody's containers, nor from one that is stopped: it could not start again."""
    stopped = {**SHOP, "State": "exited", "NetworkSettings": {"Networks": {"ocore": {"NetworkID": ""}}}}
    docker = StandInDocker(**{**OURS, "/containers/json?all=1": [*OURS["/containers/json?all=1"], stopped]})
    assert "(shop)" in outcome(NETWORK, undo_of(PROXY, NETWORK, docker=docker)).kept
    assert docker.deleted == []


def test_a_network_without_our_label_stays() -> None:
    """A network that only has the name of ours is somebody else's, and no later cleaning up looks at it."""
    docker = StandInDocker(**{"/networks/ocore": {"Id": "n9", "Name": "ocore", "Labels": {}}})
    found = outcome(NETWORK, undo_of(NETWORK, docker=docker))
    assert "lacks our label" in found.kept
    assert found.given_up
    assert docker.deleted == []


@pytest.mark.parametrize("entry", [PROXY, NETWORK, IMAGE])
def test_what_a_silent_docker_has_is_not_gone(entry: dict[str, Any]) -> None:
    """Where Docker does not answer, what was put into it is still there, and the notes say so."""
    undo = undo_of(entry, docker=SilentDocker())
    assert ocore_undo.undo_kind(undo, entry["kind"]) == ([], [f"{entry['kind']} {entry['name']}: it is silent"])


def test_without_docker_nothing_is_in_it() -> None:
    """Once Docker itself is gone so is what was in it."""
    undo = undo_of(PROXY, docker=SilentDocker())
    undo.present.has_docker = lambda: False  # type: ignore[method-assign]
    assert outcome(PROXY, undo) == GONE


def test_what_a_killed_run_left_in_docker_goes() -> None:
    """A container with our label that nothing was recorded of is removed, too."""
    left = {"Id": "c3", "Names": ["/left"], "Labels": OUR_LABELS}
    docker = StandInDocker(**{ocore_undo.OUR_CONTAINERS: [left], "/containers/left/json": {"Id": "c3", "Config": left}})
    assert ocore_undo.undo_kind(undo_of(NETWORK, docker=docker), "container") == (["container left"], [])
    assert docker.deleted == ["/containers/c3?force=1"]
    assert ocore_undo.undo_kind(undo_of(docker=docker), "container") == ([], [])


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
    (tmp_path / "key").symlink_to("elsewhere")
    assert outcome(entry).kept
    assert (tmp_path / "key").is_symlink()


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
    """With containers of others, the notes say that our settings are still in use; else Docker is restarted."""
    path = tmp_path / "daemon.json"
    monkeypatch.setattr(ocore_undo, "DOCKER_CONFIGURATION", str(path))
    entry = {**settings(None), "path": str(path)}
    for there, ran in ([SHOP], []), ([], [["systemctl", "restart", "docker.service"]]):
        path.write_text(json.dumps(CONTAINS))
        undo = undo_of(entry, docker=StandInDocker(**{**OURS, "/containers/json?all=1": there}))
        _, notes = ocore_undo.undo_kind(undo, "json")
        assert (bool(notes), undo.ran) == (bool(there), ran)


def test_a_unit_that_cannot_be_stopped_stays_with_its_file(manifest_file: Path, tmp_path: Path) -> None:
    """The notes name it, the rest goes on, and cleaning up again finds all that it takes."""

    def fail(command: list[str]) -> None:
        raise UndoError(" ".join(command))

    file, other = file_entry(tmp_path / UNIT["name"]), file_entry(tmp_path / "other")
    for entry in (file, other):
        Path(entry["path"]).write_text("ours\n")
    undo = undo_of(UNIT, file, other, units={UNIT["name"]: file["path"]})
    undo.run, undo.present.active = fail, [UNIT["name"]]
    [note] = ocore_undo.undo_kind(undo, "unit")[1]
    assert note == f"unit {UNIT['name']}: systemctl disable --now -- {UNIT['name']}"
    removed, notes = ocore_undo.undo_kind(undo, "file")
    assert removed == [f"file {other['path']}"]
    assert notes == [f"file {file['path']}: its unit still runs"]
    finished(undo, manifest_file)
    assert json.loads(manifest_file.read_text())["entries"] == [UNIT, file]

    undo.run, undo.present.active = undo.ran.append, []  # type: ignore[attr-defined]
    assert ocore_undo.undo_kind(undo, "unit") == ([f"unit {UNIT['name']}"], [])
    assert ocore_undo.undo_kind(undo, "file") == ([f"file {file['path']}"], [])


@pytest.mark.parametrize(("units", "ran"), [({}, []), ({"fail2ban.service": "/lib/x"}, ["try-restart"])])
def test_a_fail2ban_that_stays_goes_on_without_our_jail(
    units: dict[str, str], ran: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It was there before us, and would ban by our settings until its next start; one of ours has gone by then."""
    monkeypatch.setattr(ocore_undo, "JAIL", str(tmp_path / "ocore.local"))
    entry = file_entry(tmp_path / "ocore.local")
    (tmp_path / "ocore.local").write_text("ours\n")
    undo = undo_of(entry, units=units)
    ocore_undo.undo_kind(undo, "file")
    assert [command[1] for command in undo.ran] == ran  # type: ignore[attr-defined]
    ocore_undo.undo_kind(undo, "file")
    assert len(undo.ran) == len(ran)  # type: ignore[attr-defined]
    (tmp_path / "ocore.local").write_text("ours\n")
    undo.run = refuse
    assert bool(ocore_undo.undo_kind(undo, "file")[1]) == bool(units)


# --- Docker, packages and manifest ------------------------------------------------------------------------------------

DOCKER = package("docker.io", "docker")


@pytest.fixture
def docker_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Let systemd say of Docker's unit what a test puts in here, and let its data be the test's."""
    state = {"unit": "inactive"}
    monkeypatch.setattr(ocore_undo, "docker_unit", lambda: state["unit"])
    (tmp_path / "daemon.json").write_text(json.dumps({"data-root": str(tmp_path / "data")}))
    monkeypatch.setattr(ocore_undo, "DOCKER_CONFIGURATION", str(tmp_path / "daemon.json"))
    return state


def test_a_stopped_docker_of_ours_is_started(docker_state: dict[str, str], tmp_path: Path) -> None:
    """Only a running Docker can let go of what is in it; one that runs, or that others have something in, is left."""
    undo = undo_of(DOCKER, PROXY)
    assert ocore_undo.wake_docker(undo) == []
    assert [command[-2:] for command in undo.ran] == [["start", "docker.service"]]

    left_alone = [undo_of(PROXY), undo_of(DOCKER, pretend=True)]
    docker_state["unit"] = "active"
    left_alone.append(undo_of(DOCKER))
    for one in left_alone[:2]:
        docker_state["unit"] = "inactive"
        ocore_undo.wake_docker(one)
    docker_state["unit"] = "active"
    ocore_undo.wake_docker(left_alone[2])
    docker_state["unit"] = "inactive"
    (tmp_path / "data" / "containers" / "ab").mkdir(parents=True)
    left_alone.append(undo_of(DOCKER))
    ocore_undo.wake_docker(left_alone[3])
    assert [one.ran for one in left_alone] == [[]] * 4


def test_a_docker_that_cannot_be_started_is_named(docker_state: dict[str, str]) -> None:
    """Cleaning up goes on without it."""
    undo = undo_of(DOCKER)
    undo.run = refuse
    docker_state["unit"] = "failed"
    assert "could not be started: no" in ocore_undo.wake_docker(undo)[0]


def refuse(_: list[str]) -> None:
    """Fail."""
    raise UndoError("no")


def test_every_command_of_apts_waits_asks_nothing_and_keeps_files() -> None:
    """Removing, purging and repairing share what keeps them from hanging or from overwriting a configuration."""
    command = ocore_undo.apt_get(7, "remove", "curl")
    assert command[:2] == ["apt-get", "remove"]
    assert command[-1] == "curl"
    assert {"--yes", "--option=DPkg::Lock::Timeout=7", "--option=Dpkg::Options::=--force-confold"} < set(command)


def test_repairing_removes_nothing_and_says_what_went_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed run left half installed is finished; where that fails, the notes say so."""
    monkeypatch.setattr(ocore_undo, "needed_output", lambda _: "curl is only half configured")
    undo = undo_of(package("curl"))
    assert ocore_undo.repair_packages(undo, 7) == []
    assert [command[:2] for command in undo.ran] == [["dpkg", "--configure"], ["apt-get", "install"]]
    assert {"--fix-broken", "--no-remove", "--option=DPkg::Lock::Timeout=7"} < set(undo.ran[1])
    undo.run = refuse
    assert ocore_undo.repair_packages(undo, 7) == ["packages that are half installed: no"]


def test_without_packages_of_ours_dpkg_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's half installed package is not our business."""
    monkeypatch.setattr(ocore_undo, "needed_output", lambda _: pytest.fail("dpkg was asked"))
    assert ocore_undo.undo_packages(undo_of(PROXY), 7) == ([], [])


@pytest.fixture
def manifest_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let the manifest be the test's."""
    directory = tmp_path / "ocore"
    directory.mkdir()
    path = directory / "manifest.json"
    for module in (ocore_undo, ocore_undoing):
        monkeypatch.setattr(module, "DIRECTORY", str(directory))
    monkeypatch.setattr(ocore_undo, "MANIFEST", str(path))
    monkeypatch.setattr(ocore_undo, "save", lambda manifest: path.write_text(json.dumps(manifest)))
    return path


def finished(undo: Undo, path: Path) -> tuple[list[str], list[str]]:
    """Finish with a manifest on disk."""
    path.write_text(json.dumps(undo.manifest))
    removed, notes = ocore_undo.finish(undo)
    return removed, notes


def test_the_manifest_goes_when_all_has_gone(manifest_file: Path) -> None:
    """Nothing of ours is left, and so neither are the manifest, its draft and its directory."""
    home = {"kind": "directory", "path": str(manifest_file.parent), "step": "packages"}
    gone = {"kind": "directory", "path": "/nowhere", "step": "runtime"}
    manifest_file.with_name("manifest.json.ocore-part").write_text("")
    removed, notes = finished(undo_of(home, gone, package("curl")), manifest_file)
    assert (removed, notes) == ([f"file {manifest_file}", f"directory {manifest_file.parent}"], [])
    assert not manifest_file.parent.exists()


def test_the_manifest_tells_of_what_is_left(manifest_file: Path, tmp_path: Path) -> None:
    """What stays can be cleaned up another day; what is gone, or somebody else's by now, is not looked at again."""
    home = {"kind": "directory", "path": str(manifest_file.parent), "step": "packages"}
    entry = file_entry(tmp_path / "a")
    (tmp_path / "a").write_text("somebody's by now")
    docker = StandInDocker(**{"/networks/ocore": {"Id": "n9", "Name": "ocore", "Labels": {}}})
    undo = undo_of(home, entry, file_entry(tmp_path / "b"), PROXY, NETWORK, package("curl"), docker=docker)
    removed, [note] = finished(undo, manifest_file)
    assert removed == []
    assert "it tells what is left (1)" in note
    left = json.loads(manifest_file.read_text())
    assert left["entries"] == [entry, home]
    assert left["packages_before"] is None


def test_the_manifest_waits_for_a_silent_docker(manifest_file: Path) -> None:
    """What is in Docker is left while Docker does not answer; so is a package that stays, with what was before it."""
    undo = undo_of(PROXY, NETWORK, IMAGE, package("curl"), docker=SilentDocker())
    undo.present.states["curl"] = "installed"
    finished(undo, manifest_file)
    left = json.loads(manifest_file.read_text())
    assert left["entries"] == undo.manifest["entries"]
    assert left["packages_before"] == undo.manifest["packages_before"]
