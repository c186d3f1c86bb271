#!/usr/bin/python
"""Ansible module: say whether the package manager is free, and what it knows of some packages."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ocore_package_manager
short_description: Say whether apt and dpkg are free, and what they know of some packages
description:
  - Names the processes that hold the locks of apt and dpkg. Changes nothing.
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
  description: The packages that an interrupted dpkg left half done; empty while the package manager is busy.
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

from typing import Dict

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ocore_commands import output
from ansible.module_utils.ocore_package_locks import busy
from ansible.module_utils.ocore_packages import installed_packages, unfinished_packages
from ansible.module_utils.ocore_text import plain
from ansible.module_utils.ocore_versions import upstream


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


def main() -> None:
    """Answer one call."""
    module = AnsibleModule(
        argument_spec={"names": {"type": "list", "elements": "str", "default": []}}, supports_check_mode=True
    )
    names = module.params["names"]
    known = parse_policy(output(["apt-cache", "policy", "--", *names])) if names else {}
    installed = installed_packages()
    holders = busy()
    unfinished = [] if holders else [plain(name) for name in unfinished_packages()]
    answer = {
        "busy": holders,
        "unfinished": unfinished,
        "missing": [name for name in names if name not in installed],
        "unknown": [name for name in names if name not in known],
        "versions": {name: plain(known.get(name, "")) for name in names},
        "can_simulate": "python3-apt" in installed and not unfinished and not set(names).difference(known),
    }
    if holders:
        who = "; ".join(holders)
        answer["msg"] = f"[package_lock] The package manager is busy: {who}; wait until it has ended, then try again."
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
