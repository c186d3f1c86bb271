"""Host keys on the command line: pinned when first seen, used from then on, replaced only on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocore.cli.pins import FILE, Pins
from tests.unit.cli.fakes import KEY, OTHER_KEY, FakeDoor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.cli.conftest import Ran

    Ocore = Callable[..., Ran]


@pytest.fixture
def validate(ocore: Ocore, key_file: str) -> Ocore:
    """Return a function that validates a server."""
    return lambda *words, **settings: ocore("validate", "h", "--key", key_file, *words, **settings)


def test_the_first_key_is_pinned_and_used_from_then_on(validate: Ocore, state: Path) -> None:
    """The first run trusts what it sees and says so; the second one insists on it."""
    door = FakeDoor()
    first, second = validate(door=door), validate(door=door)
    assert "seen for the first time, and pinned now" in first.out
    assert f"{KEY.fingerprint} (as pinned)" in second.out
    assert [call.server.host_key for call in door.calls] == [None, KEY]
    assert Pins(state).get("h", 22) == KEY


def test_a_pin_is_per_host_and_port(ocore: Ocore, key_file: str) -> None:
    """Another port may be another server."""
    door = FakeDoor()
    ocore("validate", "h", "--key", key_file, door=door)
    ocore("validate", "admin@h:2222", "--key", key_file, door=door)
    assert door.calls[1].server.host_key is None


def test_a_changed_key_is_not_pinned(validate: Ocore, state: Path) -> None:
    """A key that is not the pinned one does not take its place, whatever the library does with it."""
    validate()
    assert "(not the expected one)" in validate(door=FakeDoor(key=OTHER_KEY)).out
    assert Pins(state).get("h", 22) == KEY


@pytest.mark.parametrize("given", [OTHER_KEY.fingerprint, str(OTHER_KEY)])
def test_a_given_key_replaces_the_pin(validate: Ocore, state: Path, given: str) -> None:
    """Whoever names a key means it: once the server has shown it, it is the pinned one."""
    validate()
    ran = validate("--host-key", given, door=FakeDoor(key=OTHER_KEY))
    assert f"{OTHER_KEY.fingerprint} (as given)" in ran.out
    assert Pins(state).get("h", 22) == OTHER_KEY


@pytest.mark.parametrize("given", [OTHER_KEY.fingerprint, str(OTHER_KEY)])
def test_a_key_that_is_not_the_given_one_is_not_pinned(validate: Ocore, state: Path, given: str) -> None:
    """A first run with a key named beforehand pins nothing else."""
    validate("--host-key", given, door=FakeDoor(key=KEY))
    assert Pins(state).get("h", 22) is None


def test_forgetting_a_key_says_which_it_was(ocore: Ocore, validate: Ocore, state: Path) -> None:
    """The forgotten fingerprint can still be compared with the next one."""
    validate()
    ran = ocore("forget-host-key", "h")
    assert ran.code == 0
    assert KEY.fingerprint in ran.out
    assert Pins(state).get("h", 22) is None
    again = ocore("forget-host-key", "h:22", "--json")
    assert (again.code, again.last["forgotten"]) == (0, None)


def test_the_state_folder_can_be_chosen(ocore: Ocore, key_file: str, tmp_path: Path) -> None:
    """Pins are kept and forgotten where --state-dir says."""
    ocore("validate", "h", "--key", key_file, "--state-dir", str(tmp_path / "mine"))
    assert (tmp_path / "mine" / FILE).exists()
    assert KEY.fingerprint in ocore("forget-host-key", "h", "--state-dir", str(tmp_path / "mine")).out


def test_a_damaged_state_file_stops_before_anything_is_contacted(validate: Ocore, state: Path) -> None:
    """Otherwise a known server would be trusted anew."""
    state.mkdir(parents=True)
    (state / FILE).write_text("{")
    door = FakeDoor()
    ran = validate(door=door)
    assert ran.code == 2
    assert FILE in ran.err
    assert door.calls == []


def test_a_pin_that_cannot_be_stored_ends_the_run(validate: Ocore, state: Path) -> None:
    """A run whose pin would be lost does not go on; it has begun, so it failed."""
    (state / FILE).with_suffix(".lock").mkdir(parents=True)
    ran = validate("--json")
    assert ran.code == 1
    assert ran.last["status"] == "failed"
    assert FILE in ran.err
