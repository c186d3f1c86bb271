#!/usr/bin/python
"""Ansible module: look at what is already so, and say which steps are due."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ocore_look
short_description: Look at what is already so on a server
description:
  - Reads in one call what every step wants to be so, and says which steps are due. Changes nothing.
  - A step is due when one of its conditions does not hold, or when a step that it needs is due.
author: oCore
options:
  steps:
    description: The steps in their order, each with its conditions.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The step's name.
        type: str
        required: true
      needs:
        description: The steps on which it depends.
        type: list
        elements: str
        default: []
      wants:
        description: Its conditions; each is a dictionary with C(kind) and what that kind needs (C(ocore_conditions)).
        type: list
        elements: dict
        default: []
  force:
    description: Every step is due.
    type: bool
    default: false
  only:
    description: No other steps than these are due, and C(verify) after them if it is; empty means all.
    type: list
    elements: str
    default: []
  due:
    description: Steps that were due before, and stay so.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Look whether curl is installed
  ocore_look:
    steps:
      - name: packages
        wants:
          - {kind: package, name: curl}
"""

RETURN = r"""
look:
  description: For each step whether all of its conditions hold, how many they are, and why it is due.
  returned: always
  type: dict
  sample: {"docker": {"so": false, "conditions": 3, "reasons": ["unit docker.service is inactive"]}}
due:
  description: The steps that are due, in their order.
  returned: always
  type: list
  elements: str
  sample: ["docker", "runtime", "proxy", "verify"]
"""

from typing import Any, Dict, Iterable, List, Set

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ocore_conditions import reasons, units_of
from ansible.module_utils.ocore_reading import Host
from ansible.module_utils.ocore_text import plain

VERIFY = "verify"
MAX_REASONS = 10

STEP_OPTIONS = {
    "name": {"type": "str", "required": True},
    "needs": {"type": "list", "elements": "str", "default": []},
    "wants": {"type": "list", "elements": "dict", "default": []},
}
OPTIONS = {
    "steps": {"type": "list", "elements": "dict", "required": True, "options": STEP_OPTIONS},
    "force": {"type": "bool", "default": False},
    "only": {"type": "list", "elements": "str", "default": []},
    "due": {"type": "list", "elements": "str", "default": []},
}


def with_dependents(steps: List[Dict[str, Any]], names: Iterable[str]) -> Set[str]:
    """Return the steps and all that need them, directly or through others."""
    found = set(names)
    for _ in steps:
        found |= {step["name"] for step in steps if found.intersection(step.get("needs", []))}
    return found


def due_steps(steps: List[Dict[str, Any]], damaged: Iterable[str], options: Dict[str, Any]) -> List[str]:
    """Return the steps that are due, in their order; what was done is verified also where `only` does not name it."""
    names = [step["name"] for step in steps]
    due = set(names) if options["force"] else with_dependents(steps, list(damaged) + options["due"])
    only = options["only"] or names
    if due.intersection(only):
        only = [*only, VERIFY]
    return [name for name in names if name in due and name in only]


def look(steps: List[Dict[str, Any]]) -> Dict[str, Dict[str, Any]]:
    """Read the host and return for each step whether it is so, and if not, why."""
    host = Host(units_of(condition for step in steps for condition in step["wants"]))
    found = {}
    for step in steps:
        why = reasons(step["wants"], host)
        found[step["name"]] = {
            "so": not why,
            "conditions": len(step["wants"]),
            "reasons": [plain(reason) for reason in why[:MAX_REASONS]],
        }
    return found


def why_due(step: Dict[str, Any], due: List[str], *, force: bool) -> List[str]:
    """Return why a step is due although all of its conditions hold."""
    if step["name"] not in due:
        return []
    return ["forced"] if force else [f"depends on {name}" for name in step.get("needs", []) if name in due]


def main() -> None:
    """Answer one call."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    options = module.params
    steps = options["steps"]
    found = look(steps)
    due = due_steps(steps, [name for name, entry in found.items() if not entry["so"]], options)
    for step in steps:
        entry = found[step["name"]]
        entry["reasons"] = entry["reasons"] or why_due(step, due, force=options["force"])
    # The call is not repeated in the answer: the conditions hold whole files, and the answer goes into the run's log.
    module.exit_json(changed=False, look=found, due=due, invocation={})


if __name__ == "__main__":
    main()
