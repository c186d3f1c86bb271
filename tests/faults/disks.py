"""A small disk: a file system in memory that only the processes which are started in its namespace see."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, Self

# Root of a user namespace of its own may mount, too.
_APART: Final = ["unshare", *(["--user", "--map-root-user"] if os.getuid() else []), "--mount"]
_ENTER: Final = ["--user", "--preserve-credentials"] if os.getuid() else []


class SmallDisk:
    """A folder with so many KiB, in a mount namespace of its own.

    Attributes:
        inside: what stands before a command that is to see it.

    """

    def __init__(self, folder: Path, kilobytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        script = f"mount -t tmpfs -o size={kilobytes}k,mode=0700 small {folder} && echo ready && exec sleep infinity"
        self._holder = subprocess.Popen([*_APART, "sh", "-c", script], stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n", "no file system can be mounted here"
        self.inside = [str(shutil.which("nsenter")), "--target", str(self._holder.pid), *_ENTER, "--mount", "--"]

    def __enter__(self) -> Self:
        """Begin to use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let it go: what is on it is gone with the last process that sees it."""
        self._holder.kill()
        self._holder.communicate()

    @property
    def seen(self) -> Path:
        """The folder, as it is reached from outside."""
        return Path(f"/proc/{self._holder.pid}/root{self._folder}")

    def fill(self) -> None:
        """Leave no room."""
        with (self.seen / "filler").open("ab", buffering=0) as file:
            for size in (2**20, 2**12):
                try:
                    while file.write(b"\0" * size) == size:
                        pass
                except OSError:
                    continue

    def empty(self) -> None:
        """Make room again."""
        (self.seen / "filler").unlink()
