"""Building the wheel, and virtual environments in which it and nothing but what it needs is installed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.hosts import state

if TYPE_CHECKING:
    from collections.abc import Iterator

CONSTRAINTS: Final = state.CHECKOUT / "constraints.txt"
_WHO: Final = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2], sys.executable)"


def _run(command: list[str], *, seconds: float = 600) -> str:
    """Run a command of the set-up, and return what it printed; what it complains about is part of a failure."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(folder: Path) -> Path:
    """Build the wheel of this checkout."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    _run([*command, str(state.CHECKOUT)])
    (wheel,) = folder.glob("ocore-*.whl")
    return wheel


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel in it, and a folder in which its programs run."""

    venv: Path
    folder: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment."""
        return self.command([str(self.venv / "bin" / program), *arguments])

    def command(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command, far from the checkout and with nothing of this process's settings."""
        return subprocess.run(
            words,
            cwd=self.folder,
            env={"HOME": str(self.folder), "LANG": "C.UTF-8", "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def python(self, code: str) -> str:
        """Run a piece of Python and return what it prints."""
        done = self.run("python", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextlib.contextmanager
def installed(wheel: Path, python: str, folder: Path, extra: str = "") -> Iterator[Installed]:
    """Install the wheel and its pinned dependencies, with those of an extra; who comes meanwhile waits.

    What was once installed for a Python stays for the next time, when only the wheel is replaced.
    """
    digest = hashlib.sha256(CONSTRAINTS.read_bytes() + (state.CHECKOUT / "pyproject.toml").read_bytes())
    digest.update((_run([python, "-VV"]) + python + extra).encode())
    name = digest.hexdigest()[:16]
    venv = state.directory("venvs") / name
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with state.locked(f"venv-{name}"):
        if (venv / "complete").exists():
            _run([*pip, "--no-deps", "--force-reinstall", str(wheel)])
        else:
            shutil.rmtree(venv, ignore_errors=True)
            _run([python, "-m", "venv", str(venv)])
            _run([*pip, "--constraint", str(CONSTRAINTS), f"{wheel}{extra}"])
            (venv / "complete").touch()
        yield Installed(venv, folder)


def find_python(version: str) -> str | None:
    """Return a Python of a version ("3.12") that really runs and can make virtual environments, or None."""
    candidates = [found] if (found := shutil.which(f"python{version}")) else []
    if shutil.which("pyenv"):
        root = Path(_run(["pyenv", "root"]).strip())
        candidates += sorted(map(str, root.glob(f"versions/{version}.*/bin/python{version}")), reverse=True)
    for candidate in candidates:
        done = subprocess.run([candidate, "-c", _WHO], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.split()[0] == version:
            return done.stdout.split(None, 1)[1].strip()
    return None
