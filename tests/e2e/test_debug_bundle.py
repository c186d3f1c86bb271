"""A debug bundle of a run that failed, unpacked elsewhere and run by hand with a fresh clone's playbooks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.integration.canary import Scan, spellings
from tests.integration.support import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.e2e.served import Client, Served
    from tests.hosts import Host

ROOT = Path(__file__).parents[2]
# There is no such image.
WRONG = "docker.io/library/caddy:0.0.0-none"


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """Return a folder with a short path: Ansible keeps its sockets below the home."""
    with tempfile.TemporaryDirectory(prefix="ocore-there-") as folder:
        yield Path(folder)


def _bundle(client: Client, run: str) -> bytes:
    url, headers = client.served.urls()[0], {"Authorization": f"Bearer {client.token}"}
    return httpx2.get(f"{url}/api/runs/{run}/debug-bundle", headers=headers, timeout=30).raise_for_status().content


def _unpacked(data: bytes, folder: Path) -> Path:
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    [found] = [path for path in folder.iterdir() if path.name.startswith("ocore-debug-")]
    return found


def _by_hand(bundle: Path, elsewhere: Path, key: Path) -> str:
    """Run a bundle's script as its page says, with a fresh clone; return what Ansible prints."""
    clone = elsewhere / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True, stdin=subprocess.DEVNULL)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", str(bundle / "run.sh"), str(clone), "--private-key", str(key)],
        cwd=elsewhere,
        env={"HOME": str(elsewhere), "LANG": "C.UTF-8", "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_failed_run_fails_in_the_same_task_by_hand(
    start: Callable[..., Host], serve: Callable[..., AbstractContextManager[Served]], elsewhere: Path
) -> None:
    """The run fails where an image is not to be had; by hand it fails there, too, and the bundle has no secret."""
    host = start("root-key")
    assert host.key_file is not None
    with serve(caddy_image=WRONG) as served:
        served.start("all")
        client = served.client()
        server = client.create(host)["id"]
        client.until(server, "error", 240)
        run = next(one for one in client.runs(server) if one["state"] == "failed")
        data = _bundle(client, run["id"])
    bundle = _unpacked(data, elsewhere)
    events = [json.loads(line) for line in (bundle / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    failed = [one for one in events if one["type"] == "task" and one["kind"] == "failed"][-1]
    assert failed["step"] == "proxy"

    key = {line.encode() for line in key_of(host).splitlines() if "-----" not in line}
    scan = Scan({"key": key, "token": spellings(client.token)})
    assert not [file for file in bundle.iterdir() if scan.names_in(file.read_bytes())]

    said = _by_hand(bundle, elsewhere, host.key_file)
    [(task, _)] = re.findall(r"^TASK \[([^\n]+)\] \*+\n(?:(?!TASK \[)[^\n]*\n)*?(fatal: )", said, re.MULTILINE)
    assert task == f"{failed['step']} : {failed['task']}"
    assert WRONG in said
