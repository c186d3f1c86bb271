"""A site's own steps: a folder with roles and an ordered list, which run among ours as if they were ours.

    site.yml           steps: a list of {name, does, needs, after, timeout}
    roles/NAME/        one role for each step, of the same shape as ours

What a site says is checked when it is read, and read once: a run plays that,
whatever is in the folder by then.
"""

from __future__ import annotations

import hashlib
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from ocore import content
from ocore.errors import ConfigError
from ocore.steps import BY_NAME, CHANGING, STEPS, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

FILE: Final = "site.yml"
VERIFY: Final = "verify"
TIMEOUT: Final = 600.0
MAX_TIMEOUT: Final = 3600.0
MAX_STEPS: Final = 20
MAX_FILES: Final = 500
MAX_BYTES: Final = 4 * 2**20
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
# Ansible's own tags, and those that the playbooks use for other things than steps.
_TAGS: Final = frozenset({"all", "always", "never", "tagged", "untagged", "look", "python"})
_KEYS: Final = frozenset({"name", "does", "needs", "after", "timeout"})
# What PyYAML raises, also where a value is not what its tag or its form says: a month of 99, nesting without end.
_NO_YAML: Final = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
# What every role must have.
_ROLE: Final = ("tasks/main.yml", "tasks/state.yml", "meta/argument_specs.yml")


@dataclass(frozen=True, slots=True)
class Site:
    """A site's steps and their roles.

    Attributes:
        steps: the steps, in their order.
        after: for each of them the step after which it stands.
        files: the roles' files by their paths, beginning with `roles/`.

    """

    steps: tuple[Step, ...]
    after: tuple[str, ...]
    files: tuple[tuple[str, bytes], ...] = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> Site:
        """Read a site's folder. Raises ConfigError, which names what is wrong."""
        for name in (FILE, "roles"):
            if (folder / name).is_symlink():
                raise _wrong(f"{name} is a link; links are not followed")
        listed = _listed(folder / FILE)
        steps: list[Step] = []
        after: list[str] = []
        for number, given in enumerate(listed, 1):
            step, place = _step(given, number, (*CHANGING[:-1], *(one.name for one in steps)))
            steps.append(step)
            after.append(place)
        files = dict(_files(folder / "roles", folder))
        for step in steps:
            _check_role(step.name, files)
        _check_strangers(files)
        found = cls(tuple(steps), tuple(after), tuple(sorted(files.items())))
        _check_order(found)
        return found

    @property
    def digest(self) -> str:
        """SHA-256 over the list and every file."""
        total = hashlib.sha256(repr((self.steps, self.after)).encode())
        for name, data in self.files:
            total.update(f"{name}\0{len(data)}\0".encode())
            total.update(data)
        return total.hexdigest()

    @property
    def role_digests(self) -> dict[str, str]:
        """A SHA-256 for each of the site's roles by its name, as `content.role_digests` has them of ours."""
        names = sorted({path.split("/")[1] for path, _ in self.files})
        return {
            name: content.digest_of(one for one in self.files if one[0].startswith(f"roles/{name}/")) for name in names
        }


def registry(site: Site | None) -> tuple[Step, ...]:
    """Return all steps of a provisioning run in their order: ours, and a site's in their places."""
    if site is None:
        return STEPS
    found = list(STEPS)
    for step, place in zip(site.steps, site.after, strict=True):
        found.insert(_end_of(place, site, found), step)
    last = found[-1]
    needs = (*last.needs, *(step.name for step in site.steps))
    return (*found[:-1], Step(last.name, last.does, last.timeout, needs=needs))


def known_steps(site: Site | None) -> Mapping[str, Step]:
    """Return every step that a run may have, by its name."""
    return BY_NAME if site is None else {**BY_NAME, **{step.name: step for step in registry(site)}}


def changing_steps(site: Site | None) -> tuple[str, ...]:
    """Return the names of the steps that may be chosen, in their order."""
    return tuple(step.name for step in registry(site) if not step.validates)


def chosen_steps(steps: Sequence[str], site: Site | None) -> tuple[str, ...]:
    """Return the steps that were asked for, in their order. Raises ConfigError for one that there is not."""
    known = changing_steps(site)
    for name in steps:
        if name not in known:
            raise ConfigError("steps", f"there is no step {name!r} to choose; there are: {', '.join(known)}")
    return tuple(name for name in known if name in steps)


def _end_of(place: str, site: Site, found: list[Step]) -> int:
    """Return the position after a step, and after the site's steps that stand there already."""
    names = [step.name for step in found]
    at = names.index(place) + 1
    others = dict(zip((step.name for step in site.steps), site.after, strict=True))
    while others.get(names[at]) == place:
        at += 1
    return at


def _wrong(words: str) -> ConfigError:
    return ConfigError("site", words)


def _listed(file: Path) -> list[Any]:
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(f"{file} cannot be read: {error.strerror}") from None
    except _NO_YAML:
        raise _wrong(f"{file} is not YAML") from None
    steps = given.get("steps") if isinstance(given, dict) and set(given) == {"steps"} else None
    if not isinstance(steps, list) or not 1 <= len(steps) <= MAX_STEPS:
        raise _wrong(f"{file} must have the one key `steps`: a list of 1-{MAX_STEPS} steps")
    return steps


def _step(given: Any, number: int, known: tuple[str, ...]) -> tuple[Step, str]:
    """Return a step, and the step after which it stands; `known` are those that may come before it."""
    if not isinstance(given, dict) or not {"name", "does"} <= set(given) <= _KEYS:
        raise _wrong(f"step {number} must have name and does, and may have needs, after and timeout")
    name, does = given["name"], given["does"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(f"step {number}: the name must be 1-40 of a-z, 0-9 and _, and begin with a letter")
    if name in known or name in BY_NAME or name in _TAGS:
        raise _wrong(f"step {number}: the name {name} is taken")
    if not isinstance(does, str) or not does.isprintable() or not 1 <= len(does) <= 200:  # noqa: PLR2004 - one line
        raise _wrong(f"{name}: does must be one line of 1-200 characters")
    needs = given.get("needs", [])
    if not isinstance(needs, list) or not all(one in known for one in needs):
        raise _wrong(f"{name}: needs must be a list of steps that come before it: {', '.join(known)}")
    after = given.get("after", CHANGING[-2])
    if after not in known:
        raise _wrong(f"{name}: after must be one of the steps that may come before it: {', '.join(known)}")
    timeout = given.get("timeout", TIMEOUT)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 1 <= timeout <= MAX_TIMEOUT:
        raise _wrong(f"{name}: timeout must be 1-{MAX_TIMEOUT:.0f} seconds")
    return Step(name, does, float(timeout), needs=tuple(needs)), str(after)


def _files(folder: Path, base: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file below a folder, but for hidden ones and what Python leaves."""
    left = MAX_BYTES
    paths = sorted(folder.rglob("*")) if folder.is_dir() else []
    for number, path in enumerate(paths):
        name = str(path.relative_to(base))
        if any(part.startswith((".", "__pycache__")) for part in path.relative_to(base).parts):
            continue
        kind = path.lstat().st_mode
        if stat.S_ISDIR(kind):
            continue
        if not stat.S_ISREG(kind):
            raise _wrong(f"{name} is neither a file nor a folder; links are not followed")
        left -= path.stat().st_size
        if left < 0 or number >= MAX_FILES:
            raise _wrong(f"the roles have more than {MAX_FILES} files or {MAX_BYTES // 2**20} MiB")
        yield name, path.read_bytes()


def _check_role(name: str, files: dict[str, bytes]) -> None:
    for part in _ROLE:
        if f"roles/{name}/{part}" not in files:
            raise _wrong(f"{name}: there is no roles/{name}/{part}")
    wanted = f"{name}_state"
    places = [one for one in files if one.startswith((f"roles/{name}/vars/main", f"roles/{name}/defaults/main"))]
    if not any(re.search(rf"^{wanted}:", files[one].decode("utf-8", "replace"), re.MULTILINE) for one in places):
        raise _wrong(f"{name}: its vars/main.yml must say {wanted}: what the step wants to be so")


def _check_strangers(files: dict[str, bytes]) -> None:
    """Refuse roles that would take the place of ours: a playbook's own folder is looked into first."""
    ours = {path.name for path in (content.root() / "roles").iterdir()}
    for name in sorted({path.split("/")[1] for path in files}):
        if name in ours:
            raise _wrong(f"roles/{name} has the name of a role of oCore's")


def _check_order(site: Site) -> None:
    """Refuse a step that would stand before one that it needs."""
    names = [step.name for step in registry(site)]
    for step in site.steps:
        for need in step.needs:
            if names.index(need) > names.index(step.name):
                raise _wrong(f"{step.name}: it needs {need}, which comes later; say `after: {need}`")
