"""Asking apt what it would do, and what it knows of the packages that are installed. Nothing here changes a package."""

from __future__ import annotations

import re
from typing import Collection, Dict, List, NamedTuple, Set

from ansible.module_utils.ocore_commands import needed_output, output

SIMULATION = ["apt-get", "--simulate", "--option=Debug::NoLocking=1"]
SIMULATION_SECONDS = 60
RECOMMENDS = ["dpkg-query", "--show", "--showformat=${Package}\t${Recommends},${Suggests}\n"]
DEPENDS = ["dpkg-query", "--show", "--showformat=${Package}\t${Pre-Depends},${Depends}\n"]
# "Remv docker.io [26.1.5]", "Inst runc (1.1.15 Debian:13 [amd64])"; of a foreign architecture: "Inst libc6:i386 (…)".
_ACTION = re.compile(r"^(Remv|Purg|Inst) ([a-z0-9][a-z0-9+.-]*)", re.MULTILINE)


class Simulation(NamedTuple):
    """What apt would do; nothing at all where it refuses."""

    removed: Set[str]
    installed: Set[str]


def parse_simulation(text: str) -> Simulation:
    """Return what `apt-get --simulate` says that it would do."""
    actions = _ACTION.findall(text)
    return Simulation(
        removed={name for action, name in actions if action != "Inst"},
        installed={name for action, name in actions if action == "Inst"},
    )


def parse_names(text: str) -> Set[str]:
    """Return package names of a list with one on each line, without their architectures."""
    return {line.partition(":")[0].strip() for line in text.splitlines() if line.strip()}


def parse_relations(text: str) -> Dict[str, Set[str]]:
    """Return the packages that each one names, of lines like `curl<tab>ca-certificates (>= 1), a | b,`."""
    relations: Dict[str, Set[str]] = {}
    for line in text.splitlines():
        name, _, others = line.partition("\t")
        words: List[str] = re.split(r"[,|]", others)
        relations[name] = {word.split()[0].partition(":")[0] for word in words if word.strip()}
    return relations


def would_install(names: Collection[str]) -> Set[str]:
    """Return the packages that apt would install; nothing where it cannot (it knows no such package, say)."""
    command = [*SIMULATION, "--no-install-recommends", "install", *sorted(names)]
    return parse_simulation(output(command, SIMULATION_SECONDS)).installed


def would_remove(names: Collection[str]) -> Simulation:
    """Return what apt would do if these were removed."""
    command = [*SIMULATION, "--no-auto-remove", "remove", *sorted(names)]
    return parse_simulation(output(command, SIMULATION_SECONDS))


def automatic() -> Set[str]:
    """Return the packages that apt installed only because others need them."""
    return parse_names(needed_output(["apt-mark", "showauto"]))


def recommends() -> Dict[str, Set[str]]:
    """Return what each installed package recommends or suggests."""
    return parse_relations(needed_output(RECOMMENDS))


def depends() -> Dict[str, Set[str]]:
    """Return what each installed package depends on."""
    return parse_relations(needed_output(DEPENDS))
