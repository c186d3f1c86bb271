"""What the sandbox shows of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ocore import sandbox

# Starts what the library starts, gives it no order, and tells how it ended.
START = """
import sys, tempfile
from ocore import sandbox
with tempfile.TemporaryFile() as errors:
    process = sandbox.spawn(agent_socket=None, stderr=errors)
    process.stdin.close()
    process.stdout.read()
    code = process.wait()
    errors.seek(0)
    sys.stderr.write(errors.read().decode())
sys.exit(code)
"""


@pytest.mark.skipif(sandbox.isolation() == "reduced", reason="this machine has no bubblewrap, or refuses namespaces")
def test_a_python_that_is_reached_through_a_link_is_seen_inside(tmp_path: Path) -> None:
    """A virtual environment may be a link in a folder that is hidden, to one that is not."""
    link = tmp_path / "environment"
    link.symlink_to(sys.prefix)
    program = link / "bin" / Path(sys.executable).name
    done = subprocess.run([program, "-c", START], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
