"""What the documents show is true: commands, options, exit codes and Python."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ocore
from ocore.cli import main, parser
from ocore.cli.exits import MEANINGS
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of every command of this package."""
    found = next(one for one in parser.build()._actions if isinstance(one, argparse._SubParsersAction))  # noqa: SLF001
    return {name: one for name, one in found.choices.items() if one.get_default("command")}


def options() -> Iterator[str]:
    """Yield every long option of every command."""
    for one in commands().values():
        for action in one._actions:  # noqa: SLF001 - argparse has no other list of them
            yield from (option for option in action.option_strings if option.startswith("--"))


@pytest.fixture(scope="module")
def page() -> str:
    """Return the page about the command line."""
    return (ROOT / "docs" / "cli.md").read_text()


def test_every_command_is_on_the_page(page: str) -> None:
    """Each command is a row, and no row is a command that does not exist."""
    table = page.partition("## Exit codes")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == set(commands())


def test_every_option_is_on_the_page(page: str) -> None:
    """Each option of each command is named, and no option is named that does not exist."""
    named = set(re.findall(r"--[a-z][a-z-]*", page))
    assert named == set(options()) | {"--version"}


def test_every_exit_code_is_on_the_page(page: str) -> None:
    """The table of exit codes has the program's own words."""
    table = page.partition("## Exit codes")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| ([0-9]+) \| (.+) \|$", table, re.MULTILINE))
    assert rows == {str(code.value): meaning for code, meaning in MEANINGS.items()}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    """Every link to a file of the repository finds it."""
    for target in LINK.findall(file.read_text()):
        assert (file.parent / target).exists(), target


def blocks() -> list[object]:
    """Return every Python block of the documents but the README's, which is run by a test of its own."""
    found = [(file.name, code) for file in PAGES[1:] for code in PYTHON.findall(file.read_text())]
    return [pytest.param(code, id=f"{name}-{number}") for number, (name, code) in enumerate(found)]


@pytest.mark.parametrize("code", blocks())
def test_python_in_the_documents_runs(code: str) -> None:
    """Each block runs as it is."""
    exec(compile(code, "document", "exec"), {})  # noqa: S102 - it is our own


def test_the_readmes_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It runs as it is but for the address: loopback is refused, which needs no server."""
    (code,) = PYTHON.findall((ROOT / "README.md").read_text())
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").write_text(private_key("ed25519"))
    monkeypatch.setenv("HOME", str(tmp_path))
    exec(compile(code.replace("203.0.113.7", "127.0.0.1"), "README.md", "exec"), {})  # noqa: S102 - it is our own
    printed = capsys.readouterr().out
    assert printed.startswith("connect failed ")
    assert "address_refused" in printed


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_names_of_the_library_exist(file: Path) -> None:
    """Whatever a document calls `ocore.NAME` in Python is exported."""
    for code in PYTHON.findall(file.read_text()):
        for name in re.findall(r"\bocore\.([A-Za-z_]+)", code):
            assert hasattr(ocore, name), name


def test_the_example_of_capacity_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """The figures in the document are those of the program."""
    shown = (ROOT / "docs" / "capacity.md").read_text().partition("    $ ocore ")[2].partition("\n\n")[0]
    words, _, output = shown.partition("\n")
    assert main(words.split()) == 0
    assert capsys.readouterr().out.splitlines() == [line.removeprefix("    ") for line in output.splitlines()]
