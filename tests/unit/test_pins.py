"""The file of pinned host keys."""

from __future__ import annotations

import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from ocore.cli.pins import FILE, Pins, state_directory
from ocore.errors import ConfigError
from ocore.intake.hostkeys import HostKey
from tests.unit.keymaker import public_key

ONE = HostKey.parse(public_key("ed25519"))
OTHER = HostKey.parse(public_key("ecdsa"))


def test_a_pin_is_found_again(tmp_path: Path) -> None:
    """What was pinned is there for the next process, for this host and port alone."""
    Pins(tmp_path).put("example.com", 22, ONE, known=None)
    assert Pins(tmp_path).get("example.com", 22) == ONE
    assert Pins(tmp_path).get("example.com", 2222) is None
    assert Pins(tmp_path).get("example.org", 22) is None


def test_nothing_is_pinned_at_first(tmp_path: Path) -> None:
    """A state folder that does not exist holds no pins, and asking does not make it."""
    assert Pins(tmp_path / "none").get("example.com", 22) is None
    assert not (tmp_path / "none").exists()


def test_a_pin_can_be_forgotten(tmp_path: Path) -> None:
    """Forgetting returns what was pinned, and does nothing the second time."""
    pins = Pins(tmp_path)
    pins.put("::1", 22, ONE, known=None)
    assert pins.forget("::1", 22) == ONE
    assert pins.forget("::1", 22) is None
    assert pins.get("::1", 22) is None


def test_only_the_owner_may_read_and_write(tmp_path: Path) -> None:
    """The file is 0600 in a folder that is 0700."""
    Pins(tmp_path / "state").put("example.com", 22, ONE, known=None)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / FILE).stat().st_mode) == 0o600


def test_a_key_that_another_run_pinned_is_not_replaced(tmp_path: Path) -> None:
    """Of two first runs that see different keys, the second one is told."""
    pins = Pins(tmp_path)
    pins.put("example.com", 22, ONE, known=None)
    with pytest.raises(ConfigError, match=ONE.fingerprint.replace("+", r"\+")):
        pins.put("example.com", 22, OTHER, known=None)
    assert pins.get("example.com", 22) == ONE


def test_a_known_pin_can_be_replaced(tmp_path: Path) -> None:
    """Whoever knows the old pin may put a new one, and putting the same again is fine."""
    pins = Pins(tmp_path)
    pins.put("example.com", 22, ONE, known=None)
    pins.put("example.com", 22, ONE, known=None)
    pins.put("example.com", 22, OTHER, known=ONE)
    assert pins.get("example.com", 22) == OTHER


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 1}',
        '{"version": 2, "hosts": {}}',
        '{"version": 1, "hosts": []}',
        '{"version": 1, "hosts": {"[example.com]:22": "SHA256:x"}}',
        '{"version": 1, "hosts": {"[example.com]:22": {"type": "ssh-ed25519", "key": "AAAA"}}}',
        "\x00\xff",
    ],
)
def test_a_damaged_file_is_not_taken_for_an_empty_one(tmp_path: Path, damage: str) -> None:
    """Otherwise every server would be trusted anew; the file is named and left as it is."""
    file = tmp_path / FILE
    file.write_bytes(damage.encode("latin-1"))
    for use in (
        lambda: Pins(tmp_path).get("example.com", 22),
        lambda: Pins(tmp_path).put("example.com", 22, ONE, known=None),
        lambda: Pins(tmp_path).forget("example.com", 22),
    ):
        with pytest.raises(ConfigError, match=FILE):
            use()
    assert file.read_bytes() == damage.encode("latin-1")


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """Where a file stands in place of the folder, the error says what cannot be used."""
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        Pins(tmp_path / "state").put("example.com", 22, ONE, known=None)


def test_nothing_but_public_things_is_stored(tmp_path: Path) -> None:
    """The file holds hosts, ports and public keys; no temporary file stays beside it."""
    Pins(tmp_path).put("example.com", 22, ONE, known=None)
    document = json.loads((tmp_path / FILE).read_text())
    assert document == {"version": 1, "hosts": {"[example.com]:22": {"type": ONE.type, "key": ONE.key}}}
    assert {one.name for one in tmp_path.iterdir()} == {FILE, "host_keys.lock"}


def _put(directory: Path, port: int) -> None:
    Pins(directory).put("example.com", port, ONE, known=None)


def test_processes_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """Pins that several processes put at the same time are all there."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_put, args=(tmp_path, port)) for port in range(1, 9)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert all(Pins(tmp_path).get("example.com", port) for port in range(1, 9))


def test_the_state_folder_follows_the_specification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_STATE_HOME names it where it is an absolute path; otherwise it is in the home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert state_directory() == Path("/srv/state/ocore")
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        assert state_directory() == tmp_path / ".local" / "state" / "ocore"
