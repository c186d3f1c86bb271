"""What is written down before a step changes something."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, ClassVar

import ocore_manifest
import pytest
from ansible.module_utils import ocore_present
from ansible.module_utils.ocore_apt import parse_relations, parse_simulation
from ansible.module_utils.ocore_commands import CommandError, needed_output
from ansible.module_utils.ocore_docker import DockerSocket, DockerUnavailable
from ansible.module_utils.ocore_manifest import ManifestError, empty, find, key, load, of_kind, parse, put, save
from ansible.module_utils.ocore_objects import merged
from ansible.module_utils.ocore_present import Present, digest, file_state, parse_package_states
from ansible.module_utils.ocore_recording import MAX_DIGESTS, is_our_docker, record

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

CURL = {"kind": "package", "name": "curl"}
DOCKER = {"kind": "package", "name": "docker.io"}
IMAGE = {"kind": "image", "name": "docker.io/library/caddy:2.10.2"}


class Bare(Present):
    """A server that has what it is given, and nothing else; files are real."""

    def __init__(self, packages: dict[str, str] | None = None, things: Collection[str] = (), brings: Any = ()) -> None:
        """Take the packages' states, the names of units and of things in Docker, and what apt would install."""
        super().__init__()
        self.states = packages or {}
        self.things = things
        self.brings = set(brings)

    @property
    def packages(self) -> dict[str, str]:  # type: ignore[override]
        """Return the given states."""
        return self.states

    def would_install(self, names: Collection[str]) -> set[str]:
        """Return what is given, for whatever packages."""
        return self.brings if names else set()

    def unit_file(self, name: str) -> str:
        """Return a path for each given name."""
        return f"/usr/lib/systemd/system/{name}" if name in self.things else ""

    def in_docker(self, kind: str, name: str) -> Any:
        """Return something for each given name."""
        return {"Id": kind} if name in self.things else None


def recorded(*wants: dict[str, Any], step: str = "runtime", present: Present | None = None) -> list[dict[str, Any]]:
    """Return the entries that recording makes of these on a server without a manifest."""
    entries: list[dict[str, Any]] = record(empty(), step, wants, present or Bare())["entries"]
    return entries


# --- packages ---------------------------------------------------------------------------------------------------------


def test_a_package_that_is_not_there_is_recorded() -> None:
    """What is going to be installed is written down, with the step that wanted it."""
    assert recorded(CURL, step="packages") == [{**CURL, "step": "packages", "told": False}]


@pytest.mark.parametrize("state", ["installed", "half-configured", "unpacked"])
def test_a_package_that_is_there_belongs_to_somebody_else(state: str) -> None:
    """A package that was installed before, even badly, is not ours to remove."""
    assert recorded(CURL, present=Bare({"curl": state})) == []


def test_a_removed_package_of_which_configuration_is_left_is_not_there() -> None:
    """Left-over configuration files do not make a package somebody else's; that they were there is remembered."""
    manifest = record(empty(), "packages", [CURL], Bare({"curl": "config-files", "bash": "installed"}))
    assert [key(entry) for entry in manifest["entries"]] == [("package", "curl")]
    assert manifest["packages_before"] == {"installed": ["bash"], "config_files": ["curl"]}


def test_what_a_package_brings_is_recorded_before_it_comes() -> None:
    """Packages that apt will install along are ours too, those of them that were there are not."""
    present = Bare({"libc6": "installed"}, brings={"curl", "libcurl4", "libc6"})
    curl, libcurl = recorded(CURL, step="packages", present=present)
    assert curl["told"] is True
    assert libcurl == {"kind": "package", "name": "libcurl4", "brought": True, "step": "packages"}


def test_apt_is_asked_again_where_it_could_not_tell() -> None:
    """Once apt knows the package what it brings is recorded, unless it has come in the meantime."""
    unknown = record(empty(), "packages", [CURL], Bare())
    knows = {"curl", "libcurl4"}
    assert len(record(unknown, "packages", [CURL], Bare(brings=knows))["entries"]) == 2
    assert record(unknown, "packages", [CURL], Bare({"curl": "installed"}, brings=knows)) == unknown


def test_the_packages_of_before_are_listed_once() -> None:
    """What was there before our first package is not overwritten by what is there before our second."""
    first = record(empty(), "packages", [CURL], Bare({"bash": "installed"}))
    second = record(first, "docker", [DOCKER], Bare({"bash": "installed", "curl": "installed", "vim": "installed"}))
    assert second["packages_before"] == {"installed": ["bash"], "config_files": []}


def test_what_apt_would_do_is_read_from_its_simulation() -> None:
    """Removals and installations are told apart, without versions and architectures."""
    text = "Reading...\nRemv docker.io [26.1] [a b]\nPurg curl [8]\nInst libc6:i386 (2.41 [i386])\nConf curl (8)\n"
    assert parse_simulation(text) == ({"docker.io", "curl"}, {"libc6"})


def test_recommendations_are_read_with_their_alternatives() -> None:
    """Each alternative counts; versions and architectures do not."""
    text = "git\tca-certificates, patch (>= 1) | busybox, less:any,gettext-base\nbash\t,bash-doc\n"
    wanted = {"ca-certificates", "patch", "busybox", "less", "gettext-base"}
    assert parse_relations(text) == {"git": wanted, "bash": {"bash-doc"}}


def test_the_most_installed_state_counts() -> None:
    """A package of several architectures is installed if one of them is; one that is not installed is not there."""
    text = "libc6 installed\nlibc6 config-files\nold config-files\nnever not-installed\n"
    assert parse_package_states(text) == {"libc6": "installed", "old": "config-files"}


# --- what runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unit", "network", "container", "image"])
def test_what_is_there_already_is_not_ours(kind: str) -> None:
    """Units and things in Docker are recorded only where nothing of that name is there."""
    want = {"kind": kind, "name": "ocore"}
    assert recorded(want) == [{**want, "step": "runtime"}]
    assert recorded(want, present=Bare(things={"ocore"})) == []


def test_a_firewalls_table_is_ours_by_its_name() -> None:
    """Whether it is there or not: an interrupted run may have loaded it."""
    want = {"kind": "nftables", "name": "inet ocore", "path": "/etc/ocore/firewall.nft"}
    manifest = record(empty(), "security", [want], Bare())
    assert manifest["entries"] == [{"kind": "nftables", "name": "inet ocore", "step": "security"}]
    assert record(manifest, "security", [want], Bare()) == manifest


def test_an_image_in_a_docker_of_ours_is_ours() -> None:
    """What lies in a Docker that we installed cannot have been there before us; in another's it can."""
    with_docker = record(empty(), "docker", [DOCKER], Bare())
    there = Bare(things={IMAGE["name"]})
    assert find(record(with_docker, "proxy", [IMAGE], there), IMAGE) == {**IMAGE, "step": "proxy"}
    assert find(record(empty(), "proxy", [IMAGE], there), IMAGE) is None


def test_docker_is_ours_only_if_its_engine_is() -> None:
    """A package that the docker step adds to somebody else's Docker does not make that Docker ours."""
    apparmor = {"kind": "package", "name": "apparmor"}
    assert is_our_docker(record(empty(), "docker", [DOCKER], Bare()))
    assert not is_our_docker(record(empty(), "docker", [DOCKER, apparmor], Bare({"docker.io": "installed"})))


def test_kinds_that_cannot_be_taken_away_are_passed_over() -> None:
    """An answering port, Docker's version and what shall be absent leave nothing behind."""
    wants = [{"kind": "port", "port": 80}, {"kind": "docker", "at_least": "24"}, {"kind": "absent", "path": "/x"}]
    assert recorded(*wants) == []


# --- files ------------------------------------------------------------------------------------------------------------


def want_file(path: Path, content: str = "ours\n") -> dict[str, Any]:
    """Return a condition for a file."""
    return {"kind": "file", "path": str(path), "content": content, "owner": "root", "group": "root", "mode": "0644"}


def test_a_new_file_is_recorded_by_its_digest(tmp_path: Path) -> None:
    """Where nothing is, nothing has to be put back; the digest tells later whether the file is still ours."""
    [entry] = recorded(want_file(tmp_path / "a"))
    assert entry["digests"] == [digest(b"ours\n")]
    assert entry["original"] is None


def test_a_file_that_is_replaced_is_kept_whole(tmp_path: Path) -> None:
    """What a file holds before we replace it, and its mode, are in the manifest."""
    path = tmp_path / "a"
    path.write_bytes(b"theirs \xff\n")
    path.chmod(0o640)
    [entry] = recorded(want_file(path))
    assert base64.b64decode(entry["original"]["content"]) == b"theirs \xff\n"
    assert entry["original"]["mode"] == 0o640


def test_a_file_that_is_as_wanted_is_not_ours(tmp_path: Path) -> None:
    """A file that has our content without us belongs to somebody else."""
    path = tmp_path / "a"
    path.write_text("ours\n")
    assert recorded(want_file(path)) == []


def test_every_content_of_ours_is_remembered(tmp_path: Path) -> None:
    """A file is ours with any content that we have announced: a run may die before it writes the newest."""
    path = tmp_path / "a"
    manifest = record(empty(), "runtime", [want_file(path, "1")], Bare())
    path.write_text("1")
    manifest = record(manifest, "runtime", [want_file(path, "2")], Bare())
    [entry] = manifest["entries"]
    assert entry["digests"] == [digest(b"1"), digest(b"2")]
    assert entry["original"] is None


def test_the_digests_do_not_grow_without_end(tmp_path: Path) -> None:
    """Only the newest contents are remembered."""
    manifest = empty()
    for number in range(MAX_DIGESTS + 5):
        manifest = record(manifest, "runtime", [want_file(tmp_path / "a", str(number))], Bare())
    assert len(manifest["entries"][0]["digests"]) == MAX_DIGESTS


def test_a_pinned_file_is_recorded_by_its_digest(tmp_path: Path) -> None:
    """A file that is fetched and of which the digest is known is ours only with that one."""
    path, pinned = tmp_path / "a", digest(b"pinned")
    want = {"kind": "file", "path": str(path), "sha256": pinned}
    [entry] = record(empty(), "docker", [want], Bare())["entries"]
    assert entry["digests"] == [pinned]
    path.write_bytes(b"pinned")
    assert record(empty(), "docker", [want], Bare())["entries"] == []


def test_a_fetched_file_has_no_digests(tmp_path: Path) -> None:
    """Of a file whose content is not known beforehand only the path is recorded."""
    [entry] = recorded({"kind": "file", "path": str(tmp_path / "key")})
    assert entry["digests"] == []


def test_a_link_is_no_file_of_ours(tmp_path: Path) -> None:
    """What is no regular file has no digest, and so never passes for a file of ours."""
    (tmp_path / "target").write_text("ours\n")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    state = file_state(str(tmp_path / "link"))
    assert state is not None
    assert state["digest"] is None


def test_a_directory_that_is_there_is_not_ours(tmp_path: Path) -> None:
    """Only a directory that is going to be made is recorded."""
    assert recorded({"kind": "directory", "path": str(tmp_path)}) == []
    assert len(recorded({"kind": "directory", "path": str(tmp_path / "new")})) == 1


def test_a_json_file_is_recorded_with_its_text(tmp_path: Path) -> None:
    """The keys that we set are recorded, and the text as it was, to the letter."""
    path = tmp_path / "daemon.json"
    path.write_text('{"debug":  true}')
    want = {"kind": "json", "path": str(path), "contains": {"live-restore": True}}
    [entry] = recorded(want)
    assert (entry["contains"], entry["original"]) == ({"live-restore": True}, '{"debug":  true}')


def test_a_json_file_that_contains_all_of_it_is_not_ours(tmp_path: Path) -> None:
    """Values that somebody else has set already stay when we go."""
    path = tmp_path / "daemon.json"
    path.write_text('{"live-restore": true, "debug": true}')
    assert recorded({"kind": "json", "path": str(path), "contains": {"live-restore": True}}) == []


def test_merging_goes_into_objects() -> None:
    """Inner objects are merged key by key, everything else is replaced, and nothing is changed in place."""
    base = {"a": {"x": 1}, "b": [1]}
    assert merged(base, {"a": {"y": 2}, "b": [2]}) == {"a": {"x": 1, "y": 2}, "b": [2]}
    assert base == {"a": {"x": 1}, "b": [1]}


# --- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [["false"], ["/nowhere/dpkg-query"], ["sleep", "5"], ["head", "-c2000000", "/dev/zero"]]
)
def test_no_answer_is_not_an_empty_one(command: list[str]) -> None:
    """A program that fails, is missing, takes too long or says too much is an error where its answer is needed."""
    with pytest.raises(CommandError, match=command[0]):
        needed_output(command, 0.5)
    assert needed_output(["true"]) == ""


@pytest.mark.parametrize("listing", [["true"], ["false"], ["echo", "curl not-installed"]])
def test_a_server_without_packages_is_an_error(listing: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where dpkg lists nothing, every package would be taken for one of ours and removed some day."""
    monkeypatch.setattr(ocore_present, "DPKG", listing)
    with pytest.raises(CommandError):
        record(empty(), "packages", [CURL], Present())


@pytest.mark.parametrize("kind", ["file", "json", "directory"])
def test_what_cannot_be_looked_at_is_not_taken_for_ours(kind: str, tmp_path: Path) -> None:
    """Only what is known not to be there is recorded; a loop of links, say, is an error."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        recorded({"kind": kind, "path": str(tmp_path / "loop" / "a"), "content": "", "contains": {}})
    (tmp_path / "file").write_text("")
    assert file_state(str(tmp_path / "file" / "a")) is None


@pytest.mark.parametrize("kind", ["container", "network", "image"])
def test_what_a_silent_docker_has_is_not_taken_for_ours(kind: str, tmp_path: Path) -> None:
    """Where Docker does not answer nobody knows what it has; without Docker there is nothing."""
    present = Present(DockerSocket(str(tmp_path / "none")))
    present.has_docker = lambda: True  # type: ignore[method-assign]
    with pytest.raises(DockerUnavailable):
        recorded({"kind": kind, "name": "ocore"}, present=present)
    present.has_docker = lambda: False  # type: ignore[method-assign]
    assert len(recorded({"kind": kind, "name": "ocore"}, present=present)) == 1


class StandInModule:
    """As much of an AnsibleModule as recording needs."""

    params: ClassVar[dict[str, Any]] = {"step": "runtime"}

    def __init__(self, *, check_mode: bool) -> None:
        """Take whether something may be changed."""
        self.check_mode = check_mode

    def fail_json(self, msg: str) -> None:
        """End as a module does that fails."""
        raise SystemExit(msg)


def test_a_step_fails_that_cannot_tell_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says why, and changes nothing; in check mode a Docker that a step before would have started may be silent."""
    wants = [{"kind": "network", "name": "ocore"}]
    silent = Present(DockerSocket(str(tmp_path / "none")))
    silent.has_docker = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(ocore_manifest, "Present", lambda: silent)
    with pytest.raises(SystemExit, match=r"cannot be read .* Docker does not answer"):
        ocore_manifest.recorded(StandInModule(check_mode=False), empty(), wants)
    assert ocore_manifest.recorded(StandInModule(check_mode=True), empty(), wants) == empty()
    (tmp_path / "loop").symlink_to("loop")
    wants = [{"kind": "directory", "path": str(tmp_path / "loop" / "a")}]
    with pytest.raises(SystemExit, match="symbolic links"):
        ocore_manifest.recorded(StandInModule(check_mode=True), empty(), wants)


# --- the manifest -----------------------------------------------------------------------------------------------------


def test_recording_twice_changes_nothing(tmp_path: Path) -> None:
    """A second run that wants the same finds the manifest as the first one left it, whatever it did in between."""
    wants = [CURL, want_file(tmp_path / "a"), {"kind": "network", "name": "ocore"}]
    first = record(empty(), "packages", wants, Bare(brings={"curl", "libcurl4"}))
    (tmp_path / "a").write_text("ours\n")
    there = Bare({"curl": "installed", "libcurl4": "installed"}, things={"ocore"})
    assert record(first, "packages", wants, there) == first


def test_a_manifest_survives_the_disk(tmp_path: Path) -> None:
    """What is saved is loaded again, readable for root only, and no draft is left."""
    path = tmp_path / "manifest.json"
    manifest = put(empty(), {**CURL, "step": "packages"})
    save(manifest, str(path))
    assert load(str(path)) == manifest
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_server_without_a_manifest_has_an_empty_one(tmp_path: Path) -> None:
    """No file means that nothing was done yet."""
    assert load(str(tmp_path / "none")) == empty()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 2, "entries": []}',
        b'{"version": 1}',
        b'{"version": 1, "entries": [{"path": "/x"}]}',
    ],
)
def test_a_damaged_manifest_is_not_taken_for_an_empty_one(content: bytes) -> None:
    """What cannot be read is an error: going on would make everything of ours somebody else's."""
    with pytest.raises(ManifestError):
        parse(content)


def test_an_entry_replaces_the_one_about_the_same_thing() -> None:
    """There is one entry for each thing, and its place stays."""
    manifest = put(put(put(empty(), CURL), DOCKER), {**CURL, "step": "packages"})
    assert [entry["name"] for entry in of_kind(manifest, "package")] == ["curl", "docker.io"]
    assert json.dumps(manifest["entries"][0]) == json.dumps({**CURL, "step": "packages"})
