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
  step:
    description: The step that asks.
    type: str
    required: true
  wants:
    description:
      - Conditions, as for C(ocore_look), of the kinds package, file, json, directory, swapfile, unit, nftables,
        network and container, and image (with C(name)). Other kinds are nothing that could be taken away, and are
        passed over.
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
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ocore_docker import DockerUnavailable
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
    "step": {"type": "str", "required": True},
    "wants": {"type": "list", "elements": "dict", "required": True},
}
MAX_MESSAGE = 500
UNREADABLE = (
    "It cannot be read what is on the server already: {}. Nothing was changed, for what is there would later be taken "
    "for something that oCore has put there; mend this, then try again."
)


def write(manifest: Manifest) -> None:
    """Write the manifest, in its directory, which is made where it is missing."""
    Path(DIRECTORY).mkdir(mode=0o755, parents=True, exist_ok=True)
    save(manifest, MANIFEST)


def recorded(module: AnsibleModule, before: Manifest, wants: List[Dict[str, Any]]) -> Manifest:
    """Return the manifest with what is wanted; fails where it cannot be read what is there now."""
    try:
        return record(before, module.params["step"], wants, Present())
    except (DockerUnavailable, OSError) as error:
        if not (module.check_mode and isinstance(error, DockerUnavailable)):
            module.fail_json(msg=plain(UNREADABLE.format(error), MAX_MESSAGE))
    return before  # an earlier step would have started Docker


def main() -> None:
    """Answer one call."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    # The manifest's own directory comes first, so that cleaning up takes it away last.
    wants = [{"kind": "directory", "path": DIRECTORY}] + module.params["wants"]
    try:
        before = load()
        after = recorded(module, before, wants)
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
