"""Breaks guards, one after the other, and shows the test that turns red: `python -m tests.faults.mutations [WORDS]`.

It works on a copy of the tree. First each test is run as it is: one that is red anyway shows nothing. Words choose the
guards that have all of them in their name. The exit code is 1 where a guard can be broken and nobody notices, or where
a test could not be run; 3 where some were not tried, since only root can tell.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_FILE: Final = Path(__file__).parent / "mutations.toml"
# An ERROR is none: what cannot be run shows nothing.
_RED: Final = re.compile(r"^FAILED (\S+)", re.MULTILINE)
_SECONDS: Final = 900
NOT_TRIED: Final = 3


@dataclass(frozen=True, slots=True)
class Mutation:
    """A guard, and a way to break it.

    Attributes:
        guard: what it keeps.
        module: where it is.
        old: its text, which stands once in the file.
        new: what is put in its place.
        test: what must turn red.
        root: whether only root can tell: others may not do in any case what the guard keeps from root.

    """

    guard: str
    module: str
    old: str
    new: str
    test: str
    root: bool = False

    @property
    def file(self) -> str:
        """The module's file, from the root of the tree."""
        return self.module.replace(".", "/") + ".py"

    def apply(self, tree: Path) -> str:
        """Break the guard in a tree, and return the file as it was."""
        file = tree / self.file
        before = file.read_text(encoding="utf-8")
        if before.count(self.old) != 1:
            raise SystemExit(f"{self.guard}: its text stands {before.count(self.old)} times in {self.file}")
        file.write_text(before.replace(self.old, self.new), encoding="utf-8")
        return before


def all_of_them() -> list[Mutation]:
    """Return all of them."""
    return [Mutation(**one) for one in tomllib.loads(_FILE.read_text(encoding="utf-8"))["mutation"]]


def _copy(folder: Path) -> Path:
    """Copy what git knows, and what is new, without what it ignores."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def _first_red(tree: Path, test: str) -> str | None:
    """Run a test in a tree; return the first one that is red, None where all are green."""
    # Hosts are those of this clone, whose images are there already.
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "OCORE_TEST_STATE": str(ROOT / ".dev"),
        "OCORE_REQUIRE_HOSTS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "--show-capture=no",
        "-rf",
        "-m",
        "",
    ]
    try:
        done = subprocess.run(
            [*command, test], cwd=tree, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{test} has not ended after {_SECONDS} s") from None
    if done.returncode == 0:
        return None
    found = _RED.search(done.stdout)
    if found is None:
        raise SystemExit(f"{test} cannot be run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return found[1]


def _tell(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def _chosen() -> list[Mutation]:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutations", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="only guards with all of these words in their name")
    parser.add_argument("--list", action="store_true", help="list them, and break none")
    given = parser.parse_args()
    chosen = [one for one in all_of_them() if all(word in one.guard for word in given.words)]
    if not chosen:
        parser.error(f"no guard has all of these words in its name: {' '.join(given.words)}")
    if given.list:
        parser.exit(0, "".join(f"{one.guard}{' (root only)' if one.root else ''}\n" for one in chosen))
    return chosen


def main() -> int:
    """Break the chosen guards, one after the other."""
    chosen = _chosen()
    unnoticed = 0
    left = [one for one in chosen if one.root and os.getuid()]
    for one in left:
        _tell(f"not tried, since only root can tell: {one.guard}")
    chosen = [one for one in chosen if one not in left]
    with tempfile.TemporaryDirectory(prefix="ocore-mutations-") as folder:
        tree = _copy(Path(folder))
        _tell("| guard | broken in | the test that turns red |\n|---|---|---|")
        for test in dict.fromkeys(one.test for one in chosen):
            if red := _first_red(tree, test):
                raise SystemExit(f"{red} is red with every guard in its place")
        for one in chosen:
            before = one.apply(tree)
            red = _first_red(tree, one.test)
            (tree / one.file).write_text(before, encoding="utf-8")
            unnoticed += red is None
            _tell(f"| {one.guard} | `{one.module}` | {f'`{red}`' if red else '**none**'} |")
    return 1 if unnoticed else NOT_TRIED if left else 0


if __name__ == "__main__":
    raise SystemExit(main())
