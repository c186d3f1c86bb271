"""Secrets made for tests, and a scan that finds them: in clear, in base64, and as JSON, shells and URLs spell them.

The scan is a program of its own as well: it runs on test hosts, with the patterns on its standard input.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST = 64 * 2**20
LINE = 70  # of a key in OpenSSH's form


def _encoded(secret: bytes) -> Iterator[bytes]:
    """Yield what every base64 text with the secret in it must contain, wherever in the text it begins."""
    for before in range(3):
        shifted = base64.b64encode(b"\0" * before + secret)
        # The first and last digits depend on what stands beside the secret.
        core = shifted[4 if before else 0 : -4]
        yield core
        yield core.translate(bytes.maketrans(b"+/", b"-_"))


def spellings(secret: str) -> set[bytes]:
    """Return the ways in which a text could be spelled."""
    texts = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        shlex.quote(secret),
        quote(secret),
        quote(secret, safe=""),
    }
    return {text.encode() for text in texts} | set(_encoded(secret.encode()))


def key_spellings(pem: str, seed: bytes) -> set[bytes]:
    """Return the ways in which an Ed25519 key in OpenSSH's form could be spelled: by the part that is secret."""
    body = [line for line in pem.splitlines() if not line.startswith("-----")]
    blob = base64.b64decode("".join(body))
    begin = blob.index(seed) * 8 // 6
    end = begin + len(seed) * 8 // 6
    lines = {line.encode() for at, line in enumerate(body) if at * LINE < end and (at + 1) * LINE > begin}
    return {seed, seed.hex().encode(), *lines, *_encoded(seed)}


class Scan:
    """Looks for patterns, each with a name."""

    def __init__(self, patterns: dict[str, set[bytes]]) -> None:
        self._names = {pattern: name for name, ways in patterns.items() for pattern in ways if len(pattern) >= 8}

    def names_in(self, data: bytes) -> set[str]:
        """Return the names of what is in some bytes."""
        return {name for pattern, name in self._names.items() if pattern in data}

    def files(self, roots: Iterable[Path], since: float, skip: Iterable[Path] = ()) -> Iterator[str]:
        """Yield each finding in what was written below some folders since a time, and in the names of files."""
        passed = [word for path in skip for word in ("-path", str(path), "-prune", "-o")]
        find = ["find", *map(str, roots), *passed]
        for name in self.names_in(_output([*find, "-print0"])):
            yield f"{name} in the name of a file"
        recent = _output([*find, "-type", "f", "-newerct", f"@{since:.3f}", "-print0"])
        for path in map(os.fsdecode, recent.split(b"\0")[:-1]):
            with contextlib.suppress(OSError), Path(path).open("rb") as file:
                yield from self._found(Path(path), file.read(MOST))

    def processes(self, pids: Iterable[int] | None = None) -> Iterator[str]:
        """Yield each finding in the arguments and the environment of processes; of all that there are by default."""
        every = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        for pid in every if pids is None else pids:
            for what in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    path = Path("/proc", str(pid), what)
                    yield from self._found(path, path.read_bytes())

    def open_files(self, pids: Iterable[int], besides: Iterable[Path] = ()) -> Iterator[str]:
        """Yield each finding in files that processes have open, also in such as have no name any more."""
        passed = tuple(map(str, besides))
        for pid in pids:
            with contextlib.suppress(OSError):
                for path in Path("/proc", str(pid), "fd").iterdir():
                    with contextlib.suppress(OSError), _opened(path) as file:
                        # What is open here is asked: over there the number may be another file's by now.
                        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                        if regular and not str(Path(f"/proc/self/fd/{file.fileno()}").readlink()).startswith(passed):
                            yield from self._found(path, file.read(MOST))

    def _found(self, path: Path, data: bytes) -> Iterator[str]:
        for name in self.names_in(data):
            yield f"{name} in {path}"


def _opened(path: Path) -> IO[bytes]:
    """Open a file without waiting for anybody at its other end."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb")


def _output(command: list[str]) -> bytes:
    """Return a program's output; `find` complains of files that vanish meanwhile."""
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def main() -> None:
    """Scan folders, the arguments and environments of all processes, and the journal; print what is found."""
    order = json.loads(sys.stdin.readline())
    scan = Scan({name: {bytes.fromhex(one) for one in ways} for name, ways in order["patterns"].items()})
    journal = _output(["journalctl", "--output=export", "--no-pager"])
    found = [*scan.files(map(Path, order["roots"]), order["since"]), *scan.processes()]
    found += [f"{name} in the journal" for name in scan.names_in(journal)]
    sys.stdout.write("\n".join(found))


if __name__ == "__main__":
    main()
