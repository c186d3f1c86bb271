"""Clients that are generated from the API's document drive a server's whole life, over recordings.

The generators come from their package registries, into a folder that goes with the test.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.service.replayed import replayed
from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.replayed import Replayed

DRIVERS = Path(__file__).parent / "clients"
PYTHON = ["openapi-python-client==0.29.1"]
# It knows no gzip, and has this setting for what else is a file.
CONFIG = "post_hooks: []\ncontent_type_overrides: {application/gzip: application/octet-stream}\n"
NODE = ["openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@20.19.0"]
TSC = ["--strict", "--noEmitOnError", "--module", "nodenext", "--target", "es2022", "--skipLibCheck"]
PACKAGE = '{"name": "life", "private": true, "type": "module"}'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    """Return a service that replays."""
    with replayed(tmp_path_factory.mktemp("replayed")) as served:
        yield served


@pytest.fixture(scope="module")
def token(service: Replayed) -> str:
    """Return a token of the one organization."""
    return service.token()


def run(folder: Path, *command: str, given: str = "") -> str:
    """Run a program to its end; what it says belongs to a failure."""
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def document(service: Replayed, folder: Path) -> str:
    """Write the API's document into a folder, as the service gives it; return its name."""
    (folder / "openapi.json").write_bytes(httpx2.get(f"{service.url}/openapi.json").content)
    return "openapi.json"


@pytest.mark.slow
def test_a_generated_python_client_drives_a_server_s_life(service: Replayed, token: str, tmp_path: Path) -> None:
    """openapi-python-client makes it without a warning; what it sends and takes is what the service takes and sends."""
    run(tmp_path, sys.executable, "-m", "venv", "venv")
    python = str(tmp_path / "venv" / "bin" / "python")
    run(tmp_path, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PYTHON)
    (tmp_path / "config.yml").write_text(CONFIG)
    said = run(
        tmp_path, "venv/bin/openapi-python-client", "generate", "--path", document(service, tmp_path),
        "--output-path", "ocore_client", "--meta", "none", "--config", "config.yml", "--fail-on-warning",
    )  # fmt: skip
    assert "warning" not in said.lower(), said
    shutil.copy(DRIVERS / "life.py", tmp_path)
    run(tmp_path, python, "life.py", service.url, token, given=private_key("ed25519"))


@pytest.mark.slow
def test_a_generated_typescript_client_drives_a_server_s_life(service: Replayed, token: str, tmp_path: Path) -> None:
    """openapi-typescript's types hold for a strict compiler, and for what the service really answers."""
    missing = [name for name in ("node", "npm", "npx") if shutil.which(name) is None]
    if missing:
        pytest.fail(f"missing here: {', '.join(missing)} (Node.js 20 or newer; this test installs the rest itself)")
    (tmp_path / "package.json").write_text(PACKAGE)
    run(tmp_path, "npm", "install", "--no-audit", "--no-fund", "--silent", *NODE)
    run(tmp_path, "npx", "--no-install", "openapi-typescript", document(service, tmp_path), "--output", "schema.d.ts")
    shutil.copy(DRIVERS / "life.ts", tmp_path)
    run(tmp_path, "npx", "--no-install", "tsc", *TSC, "life.ts")
    run(tmp_path, "node", "life.js", service.url, token, given=private_key("ed25519"))
