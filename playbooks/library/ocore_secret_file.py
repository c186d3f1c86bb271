#!/usr/bin/python
"""Ansible module: write a secret into a file that only root can read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ocore_secret_file
short_description: Write a secret into a file that only root can read
description:
  - Replaces the file in one go. The secret goes from memory into that file, and into no other, temporary one.
  - Tells whether something changed, and neither the old content nor the new one.
author: oCore
options:
  path:
    description: The file. Its directory must exist.
    type: path
    required: true
  content:
    description: The secret, which is the whole of the file.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write the token
  ocore_secret_file:
    path: /etc/ocore/agent/token
    content: "{{ agent_token }}"
  no_log: true
"""

RETURN = r"""# """

import stat
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ocore_manifest import write_atomically
from ansible.module_utils.ocore_text import MAX_FILE_BYTES, read_bytes

OPTIONS = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True, "no_log": True},
}
MODE = 0o600
ROOT = (0, 0)


def is_so(path: str, content: bytes, owner: Any = ROOT) -> bool:
    """Tell whether the file is there, with this content, and for its owner only."""
    try:
        found = Path(path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    regular = stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == MODE
    return regular and (found.st_uid, found.st_gid) == owner and read_bytes(path, MAX_FILE_BYTES) == content


def main() -> None:
    """Answer one call."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    path, content = module.params["path"], module.params["content"].encode()
    try:
        changed = not is_so(path, content)
        if changed and not module.check_mode:
            write_atomically(path, content, MODE, ROOT)
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be written: {error.strerror}.")
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
