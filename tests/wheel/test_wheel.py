"""The wheel, installed where nothing else of this project is: it is complete, and does the main job."""

from __future__ import annotations

import json
import shlex
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from ocore import content
from tests.wheel import installing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.hosts import Host
    from tests.wheel.installing import Installed

SERVICE = ("fastapi", "sqlmodel", "sqlalchemy", "huey", "uvicorn")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Return an environment with the wheel, made by the Python that runs the tests."""
    with installing.installed(wheel, sys.executable, tmp_path_factory.mktemp("elsewhere")) as found:
        yield found


def test_the_library_is_imported_from_the_wheel(installed: Installed) -> None:
    """`import ocore` works away from the checkout, with pip satisfied."""
    assert installed.python("import ocore; print(ocore.__file__)").startswith(str(installed.venv))
    check = installed.run("python", "-m", "pip", "check")
    assert check.returncode == 0, check.stdout


def test_nothing_of_the_service_is_needed(installed: Installed) -> None:
    """The library and the command line come without web framework, database and job queue."""
    code = f"import importlib.util as u, json; print(json.dumps([n for n in {SERVICE!r} if u.find_spec(n)]))"
    assert json.loads(installed.python(code)) == []


def test_the_content_is_the_checkouts(installed: Installed, wheel: Path) -> None:
    """Playbooks, roles, templates and settings are in the wheel, byte for byte, and nothing that Python left there."""
    root, digest = installed.python("from ocore import content; print(content.root(), content.digest())").split()
    assert root.startswith(str(installed.venv))
    assert digest == content.digest()
    names = zipfile.ZipFile(wheel).namelist()
    for expected in ("playbooks/provision.yml", "playbooks/library/ocore_look.py", "roles/docker/tasks/main.yml",
                     "inventory_templates/server.yml.j2", "ansible.cfg"):  # fmt: skip
        assert f"ocore/_content/{expected}" in names
    assert "api/data/migrations/env.py" in names
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests/", "docs/"))]
    assert "ocore/py.typed" in names
    assert "ocore/recordings/replay.json" in names


def test_the_command_line_is_there(installed: Installed) -> None:
    """`ocore --version` and `ocore --help` work, and so does `python -m ocore`."""
    version = installed.run("ocore", "--version")
    assert (version.returncode, version.stdout) == (0, "ocore 0.1.0\n")
    help_text = installed.run("ocore", "--help")
    assert help_text.returncode == 0
    assert "provision" in help_text.stdout
    assert installed.run("python", "-m", "ocore", "--version").stdout == version.stdout


def test_a_command_of_the_service_says_what_to_install(installed: Installed) -> None:
    """Without the service's own packages its commands are listed, and say in one sentence how to get them."""
    assert "serve" in installed.run("ocore", "--help").stdout
    done = installed.run("ocore", "serve")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ocore: The service is not installed here: pip install 'ocore[service]'\n"


@pytest.mark.slow
def test_the_service_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """With its extra the wheel has all that the service needs, the migrations among it."""
    with installing.installed(wheel, sys.executable, tmp_path, "[service]") as found:
        made = found.run("ocore", "org", "create", "one", "--home", str(tmp_path / "home"), "--json")
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["name"] == "one"


def test_a_host_is_provisioned_with_the_wheel(installed: Installed, host: Host) -> None:
    """The wheel does the main job with the playbooks that are in it, and the commands that it prints for hands work."""
    arguments = ["provision", host.target, "--key", str(host.key_file), "--allow-loopback", "--minimum-disk-gb", "1"]
    done = installed.run("ocore", *arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.exec("systemctl is-active ocore-proxy").stdout.strip() == "active"

    drift = installed.run("ocore", "drift", *arguments[1:])
    assert drift.returncode == 0, drift.stdout + drift.stderr

    # The host key is known by now: it was pinned in this environment's home.
    inventory = installed.run("ocore", "inventory", *arguments[1:], "--directory", "hand", "--json")
    _, whole = json.loads(inventory.stdout.splitlines()[-1])["commands"]
    assert "/_content/playbooks/provision.yml" in whole
    by_hand = installed.command(shlex.split(whole))
    assert by_hand.returncode == 0, by_hand.stdout + by_hand.stderr
    assert " changed=0 " in by_hand.stdout
