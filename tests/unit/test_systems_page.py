"""The page about systems names every role and every supported system, and commands that find tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ocore.errors import ErrorCode
from ocore.steps import BY_NAME
from tests.unit.test_content_agrees import ROLES, read

NOTHING = "\N{EN DASH}"
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")
NAMES = {
    "debian": "Debian",
    "ubuntu": "Ubuntu",
    "rhel": "RHEL",
    "rocky": "Rocky",
    "almalinux": "Alma",
    "amzn": "Amazon",
}
ROWS = {name: cells.split(" | ") for name, cells in re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE)}
HEAD = re.findall(r"^\| role \| (.+) \|$", PAGE, re.MULTILINE)[0].split(" | ")
COMMANDS = re.findall(r"`\./dev test (--\w+ )?(tests/\S+)(?: -k (\w+))?`", PAGE)
# Where a command is played, and the roles that it tries there.
TRIED = [
    (where, re.findall(r"`(\w+)`", roles))
    for where, roles in re.findall(r"^\| (\w.*?) \| (`.+`) \| `\./dev", PAGE, re.MULTILINE)
]


def test_every_role_is_a_row() -> None:
    """In the order of the steps, each with a word for every system."""
    assert list(ROWS) == list(BY_NAME)
    assert {len(cells) for cells in ROWS.values()} == {len(HEAD)}
    assert {cell for cells in ROWS.values() for cell in cells} <= {"real", "part", "rendered", NOTHING}


def test_every_supported_system_is_a_column() -> None:
    """With its oldest version."""
    systems = read(ROLES / "preflight" / "vars" / "main.yml")["__preflight_systems"]
    assert set(systems) == set(NAMES)
    for system, oldest in systems.items():
        assert [head for head in HEAD if NAMES[system] in head and str(oldest) in head], system


def test_what_ran_on_a_host_has_a_command() -> None:
    """Each role that is real or a part somewhere is tried there by a command, and no command tries more."""
    cells = {(head, role): cell for role, row in ROWS.items() for head, cell in zip(HEAD, row, strict=True)}
    told = {place for place, cell in cells.items() if cell in {"real", "part"}}
    assert {(where, role) for where, roles in TRIED for role in roles if where != "rendered"} == told


@pytest.mark.parametrize(("option", "file", "word"), COMMANDS)
def test_a_command_finds_its_tests(option: str, file: str, word: str) -> None:
    """The file is there, is played with the option that its tests need, and has what the command chooses."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if "pytest.mark.arm64" in text:
        assert option == "--arm64 "
    elif "pytest.mark.slow" in text:
        assert option in {"--all ", ""}
        assert not ("pytestmark = pytest.mark.slow" in text and not option)
    else:
        assert option == ""
    assert not word or word in {str(code) for code in ErrorCode}


@pytest.mark.parametrize("role", [name for name, cells in ROWS.items() if "rendered" in cells])
def test_what_is_said_to_be_rendered_is(role: str) -> None:
    """A test computes what the role makes of every system, and the page has its command."""
    assert [where for where, roles in TRIED if where == "rendered" and role in roles]
    text = (ROOT / "tests" / "unit" / "content" / "test_systems.py").read_text(encoding="utf-8")
    assert f'"{role}"' in text
