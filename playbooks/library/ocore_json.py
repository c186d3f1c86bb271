#!/usr/bin/python
"""Ansible module: make a JSON file contain some values, and leave all others in it as they are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ocore_json
short_description: Make a JSON file contain some values
description:
  - Merges values into a JSON file, and leaves all others as they are. Inner objects are merged as well.
  - A file that changes can be kept as it was, so that a caller can put it back.
author: oCore
options:
  path:
    description: The file; it is made where it is not there. Its directory must exist.
    type: path
    required: true
  contains:
    description: What the file shall contain.
    type: dict
    required: true
  validate:
    description: A command that accepts or refuses the new file, which stands in it as C(%s).
    type: str
  backup:
    description: Where the file is kept as it was before this change.
    type: path
"""

EXAMPLES = r"""
- name: Keep containers running while Docker restarts
  ocore_json:
    path: /etc/docker/daemon.json
    contains: {live-restore: true}
    validate: dockerd --validate --config-file=%s
"""

RETURN = r"""
backup:
  description: The file that holds what was there before.
  returned: when there was a file and it was changed
  type: str
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ocore_objects import merged, parse
from ansible.module_utils.ocore_text import MAX_FILE_BYTES, plain, read_bytes

OPTIONS = {
    "path": {"type": "path", "required": True},
    "contains": {"type": "dict", "required": True},
    "validate": {"type": "str"},
    "backup": {"type": "path"},
}
NEW_FILE_MODE = 0o644


def as_text(value: Any) -> str:
    """Return a value as a JSON file that a person can read."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def replace(module: AnsibleModule, path: str, text: str) -> None:
    """Put a file in place at once and only if it is valid, so that nobody ever reads half a file."""
    handle, draft = tempfile.mkstemp(prefix=".ocore-", dir=Path(path).parent)
    module.add_cleanup_file(draft)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    if not Path(path).exists():
        Path(draft).chmod(NEW_FILE_MODE)
    if module.params["validate"]:
        code, said, complained = module.run_command(module.params["validate"].replace("%s", draft))
        if code != 0:
            module.fail_json(msg=f"The new {path} is refused: {plain(complained or said)}")
    module.atomic_move(draft, path)


def main() -> None:
    """Answer one call."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    path, backup = module.params["path"], module.params["backup"]
    existed = Path(path).exists()
    before = read_bytes(path, MAX_FILE_BYTES).decode("utf-8", errors="replace") if existed else ""
    try:
        found = parse(before)
    except ValueError as error:
        module.fail_json(msg=f"{path} is no usable JSON ({plain(error)}); correct or remove it.")
    result = merged(found, module.params["contains"])
    if result == found and existed:
        module.exit_json(changed=False)
    answer = {"diff": {"before": before, "after": as_text(result), "before_header": path, "after_header": path}}
    if not module.check_mode:
        if existed and backup:
            shutil.copy2(path, backup)
            answer["backup"] = backup
        replace(module, path, as_text(result))
    module.exit_json(changed=True, **answer)


if __name__ == "__main__":
    main()
