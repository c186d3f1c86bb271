#!/usr/bin/python
"""Ansible module: say whether the package manager is free, and what it knows of some packages."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ocore_package_manager
short_description: Say whether the package manager is free, and what they know of some packages
description:
  - Names the processes that hold the locks of apt and dpkg, or of dnf and rpm. Changes nothing.
  - While cloud-init runs, the package manager counts as busy, because cloud-init installs packages as it goes.
  - Meant for a task with C(until); when its retries are used up, C(msg) is the failure's text.
author: oCore
options:
  names:
    description: The packages to ask for.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Wait for the package manager
  ocore_package_manager:
  register: manager
  until: not manager.busy
  retries: 60
  delay: 5
"""

RETURN = r"""
busy:
  description: What keeps the package manager busy; empty when it is free.
  returned: always
  type: list
  elements: str
  sample: ["apt-get (process 4711) holds /var/lib/dpkg/lock-frontend"]
unfinished:
  description: The packages that an interrupted package manager left half done; empty while the package manager is busy.
  returned: always
  type: list
  elements: str
missing:
  description: Those of the packages that are not installed.
  returned: always
  type: list
  elements: str
unknown:
  description: Those of the packages that are not in the package lists, or all where there are no lists yet.
  returned: always
  type: list
  elements: str
versions:
  description: For each package the version that is installed or else would be; empty where the package is unknown.
  returned: always
  type: dict
  sample: {"docker.io": "26.1.5"}
can_simulate:
  description: Whether apt can be asked what it would do, as Ansible's check mode does.
  returned: always
  type: bool
"""

from typing import Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ocore_commands import output
from ansible.module_utils.ocore_package_locks import busy
from ansible.module_utils.ocore_packages import installed_packages, manager, unfinished_packages
from ansible.module_utils.ocore_text import plain
from ansible.module_utils.ocore_versions import upstream

REPOQUERY = ["dnf", "--quiet", "repoquery", "--latest-limit=1", "--queryformat", "%{name}\t%{version}\n"]
# dnf fetches its lists first, where they are old.
REPOQUERY_SECONDS = 120


def parse_policy(text: str) -> Dict[str, str]:
    """Return for each package of `apt-cache policy` the version that is installed, or else would be."""
    versions: Dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        label, _, value = line.strip().partition(": ")
        if line.endswith(":") and not line.startswith(" "):
            name = line[:-1]
        elif label in ("Installed", "Candidate") and value != "(none)":
            versions.setdefault(name, upstream(value))
    return versions


def parse_repoquery(text: str) -> Dict[str, str]:
    """Return the version of each package that dnf knows."""
    fields = (line.split("\t") for line in text.splitlines())
    return {one[0]: upstream(one[1]) for one in fields if len(one) == 2}  # noqa: PLR2004 - name and version


def known_versions(names: List[str], installed: Dict[str, str]) -> Dict[str, str]:
    """Return for each package the version that is installed, or else would be."""
    if not names:
        return {}
    if manager() != "dnf":
        return parse_policy(output(["apt-cache", "policy", "--", *names]))
    found = {name: upstream(installed[name]) for name in names if name in installed}
    missing = [name for name in names if name not in found]
    if missing:
        found.update(parse_repoquery(output([*REPOQUERY, *missing], REPOQUERY_SECONDS)))
    return found


def can_simulate(names: List[str], known: Dict[str, str], installed: Dict[str, str], unfinished: List[str]) -> bool:
    """Tell whether the package manager can be asked what it would do."""
    ready = manager() == "dnf" or "python3-apt" in installed
    return ready and not unfinished and not set(names).difference(known)


def main() -> None:
    """Answer one call."""
    module = AnsibleModule(
        argument_spec={"names": {"type": "list", "elements": "str", "default": []}}, supports_check_mode=True
    )
    names = module.params["names"]
    installed = installed_packages()
    known = known_versions(names, installed)
    holders = busy()
    unfinished = [] if holders else [plain(name) for name in unfinished_packages()]
    answer = {
        "busy": holders,
        "unfinished": unfinished,
        "missing": [name for name in names if name not in installed],
        "unknown": [name for name in names if name not in known],
        "versions": {name: plain(known.get(name, "")) for name in names},
        "can_simulate": can_simulate(names, known, installed, unfinished),
    }
    if holders:
        who = "; ".join(holders)
        answer["msg"] = f"[package_lock] The package manager is busy: {who}; wait until it has ended, then try again."
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
