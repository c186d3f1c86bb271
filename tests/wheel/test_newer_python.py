"""The wheel under newer versions of Python, which bring a newer Ansible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.wheel import installing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hosts import Host

NEWER_ANSIBLE = "2.21."


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_a_host_is_validated(version: str, wheel: Path, host: Host, tmp_path: Path) -> None:
    """Validation of a real host works with this Python and the Ansible that is pinned for it."""
    python = installing.find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} that runs was found (on PATH, or with pyenv)")
    arguments = [host.target, "--key", str(host.key_file), "--allow-loopback", "--minimum-disk-gb", "1"]
    with installing.installed(wheel, python, tmp_path) as installed:
        assert installed.python("import ansible.release as r; print(r.__version__)").startswith(NEWER_ANSIBLE)
        for command in ("validate", "plan"):
            done = installed.run("ocore", command, *arguments)
            assert done.returncode == 0, done.stdout + done.stderr
