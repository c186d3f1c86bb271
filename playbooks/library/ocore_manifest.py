#!/usr/bin/python
"""Ansible module: write down what a step is about to put on a server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ocore_manifest
short_description: Write down what a step is about to put on a server
description:
  - Called by each role before it changes something, with what the role wants.
  - Records what is not there yet, and what a file that is about to be replaced holds. C(ocore_undo) takes away
    what is recorded, and puts back what was replaced.
  - What is there already as it is wanted is not recorded. Recording twice changes nothing.
author: oCore
options:
  state:
    description: What is wanted is recorded.
    type: str
    choices: [recorded]
    default: recorded
  step:
    description: The step that asks.
    type: str
    required: true
  wants:
    description:
      - Conditions, as for C(ocore_look), of the kinds package, file, json, directory, unit, network and container,
        and image (with C(name)). Other kinds are nothing that could be taken away, and are passed over.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Write down what is put here
  ocore_manifest:
    step: runtime
    wants: "{{ runtime_state }}"
"""

RETURN = r"""
recorded:
  description: What was recorded by this call, kind and name or path of each.
  returned: always
  type: list
  elements: str
  sample: ["directory /etc/ocore"]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ocore_manifest import (
    DIRECTORY,
    MANIFEST,
    Manifest,
    ManifestError,
    key,
    load,
    save,
)
from ansible.module_utils.ocore_present import Present
from ansible.module_utils.ocore_recording import record
from ansible.module_utils.ocore_text import plain

OPTIONS = {
    "state": {"type": "str", "choices": ["recorded"], "default": "recorded"},
    "step": {"type": "str", "required": True},
    "wants": {"type": "list", "elements": "dict", "required": True},
}


def write(manifest: Manifest) -> None:
    """Write the manifest, in its directory, which is made where it is missing."""
    Path(DIRECTORY).mkdir(mode=0o755, parents=True, exist_ok=True)
    save(manifest, MANIFEST)


def main() -> None:
    """Answer one call."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    # The manifest's own directory comes first, so that cleaning up takes it away last.
    wants = [{"kind": "directory", "path": DIRECTORY}] + module.params["wants"]
    try:
        before = load()
        after = record(before, module.params["step"], wants, Present())
        if after != before and not module.check_mode:
            write(after)
    except (ManifestError, OSError) as error:
        module.fail_json(
            msg=f"The manifest {MANIFEST} cannot be used: {error}; mend it, or move it away (what it "
            "lists is then taken for something that was there before)."
        )
    added = [entry for entry in after["entries"] if entry not in before["entries"]]
    # The call is not repeated in the answer: what is wanted may hold whole files.
    module.exit_json(changed=after != before, recorded=[plain(" ".join(key(entry))) for entry in added], invocation={})


if __name__ == "__main__":
    main()
