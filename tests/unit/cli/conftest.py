"""Running the command line inside the test's process."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ocore.cli import main
from tests.unit.cli.fakes import FakeDoor
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass
class Ran:
    """What one command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The lines of `--json`."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        """The last line of `--json`."""
        return self.objects[-1]


def never_ask(question: str) -> str:
    """Fail where a test did not expect a question."""
    raise AssertionError(f"was asked: {question}")


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    """Return the name of a file with a good private key."""
    file = tmp_path / "id"
    file.write_text(private_key("ed25519"))
    return str(file)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty state folder, which commands use by default."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path / "state" / "ocore"


@pytest.fixture
def ocore(
    state: Path,  # noqa: ARG001 - nobody's own pins are touched
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Ran]:
    """Return a function that runs one command."""

    def run(*words: str, door: FakeDoor | None = None, ask: Callable[[str], str] = never_ask, stdin: str = "") -> Ran:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = main(list(words), door=door or FakeDoor(), ask=ask)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run
