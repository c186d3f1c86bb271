"""Record real runs as data for the unit tests: `python -m tests.record` starts its own hosts and removes them.

Each recording is a stream of what the sandboxed process answered (`NAME.jsonl`), and beside it what the run came to
(`NAME.json`). Read the difference before you commit it: it is what a new Ansible changed.
"""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import ocore
from ocore.testing import RecordingTransport
from tests import hosts
from tests.hosts import mirror
from tests.integration import support

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent / "unit" / "data" / "runs"


def summary(result: ocore.RunResult) -> dict[str, Any]:
    """Return what a run came to, without times and ids."""
    return {
        "kind": result.kind,
        "status": str(result.status),
        "error": {"code": str(result.error.code), "message": result.error.message} if result.error else None,
        "steps": [
            {
                "step": one.step,
                "status": str(one.status),
                "message": one.message,
                "changed": one.changed,
                "tasks": one.tasks,
            }
            for one in result.steps
        ],
        "specs": {name: getattr(result.specs, name) for name in result.specs.__slots__} if result.specs else None,
        "notes": list(result.notes),
    }


def record(name: str, run: Callable[[RecordingTransport], ocore.RunResult]) -> None:
    """Make one recording."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stream = io.StringIO()
    result = run(RecordingTransport(stream))
    (FOLDER / f"{name}.jsonl").write_text(_without_sources(stream.getvalue()), encoding="utf-8")
    text = json.dumps(summary(result), indent=2, ensure_ascii=False) + "\n"
    (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")
    print(f"{name}: {result.status} {result.error or ''}")  # noqa: T201 - a command


def record_bare() -> None:
    """Record a host's life: provisioned, found so, damaged and repaired, cleaned; and one that dies."""
    host = hosts.up("root-key")
    server = support.server(host)
    try:
        low = support.options(minimum_memory_mb=10**6)
        record("memory_low", lambda way: ocore.validate(server, low, transport=way))
        record("bare", lambda way: ocore.provision(server, support.OPTIONS, transport=way))
        record("already_so", lambda way: ocore.provision(server, support.OPTIONS, transport=way))
        host.exec("echo '# mine' >> /etc/ocore/proxy/Caddyfile")
        record("repaired", lambda way: ocore.provision(server, support.OPTIONS, transport=way))
        record("cleaned", lambda way: ocore.cleanup(server, support.OPTIONS, transport=way))
        record("dies", lambda way: ocore.provision(server, support.OPTIONS, transport=way, recorder=_Kill(host)))
    finally:
        host.remove()


def _without_sources(text: str) -> str:
    """Return a recording without the names of this machine's own package sources."""
    sources = mirror.read()
    for uri in (sources.archive, sources.security or ""):
        name = urlsplit(uri).hostname
        text = text.replace(name, "packages.example.org") if name else text
    return text


class _Kill(ocore.NullRecorder):
    def __init__(self, host: hosts.Host) -> None:
        self._host = host
        self._killed = False

    def step_started(self, step: str, at: Any) -> None:  # noqa: ARG002 - the protocol's shape
        """Cut the host's power a moment after packages began."""
        if step == "packages" and not self._killed:
            self._killed = True
            threading.Timer(0.3, self._host.kill).start()


def record_others() -> None:
    """Record what other hosts refuse."""
    for name, variant in (("port_in_use", "port80"), ("os_unsupported", "old-release"), ("docker_too_old", "bookworm")):
        host = hosts.up(variant)
        try:
            record(name, lambda way, host=host: ocore.provision(support.server(host), support.OPTIONS, transport=way))
        finally:
            host.remove()


if __name__ == "__main__":
    record_bare()
    record_others()
