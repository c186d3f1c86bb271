#!/usr/bin/python
"""Ansible module: check by use that a server does what it should."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ocore_verify
short_description: Check by use that a server does what it should
description:
  - Asks the proxy for its page, lets Docker run a container, asks systemd for its units, and reads the marker back.
  - What is wrong is asked again for a while, since what was just restarted may need a moment.
  - Leaves nothing behind.
author: oCore
options:
  steps:
    description: The steps whose results are checked.
    type: list
    elements: str
    choices: [packages, swap, security, docker, runtime, proxy, agent]
    required: true
  docker_minimum_version:
    description: The oldest version of Docker that will do.
    type: str
    required: true
  docker_info:
    description: What Docker must say of itself (C(/info) of its API).
    type: dict
    default: {}
  network:
    description: The network of the applications.
    type: str
    required: true
  server_id:
    description: The server's id; any will do where it is empty.
    type: str
    default: ""
  proxy:
    description:
      - The proxy, with its C(kind) (the beginning of its Server header, or C(none)), its C(unit), its C(image), and
        the C(command) that a throw-away container of this image runs.
    type: dict
    required: true
  agent:
    description: The agent, with its C(unit); an empty one means that none is wanted.
    type: dict
    default: {unit: ""}
  swap:
    description: The unit whose swap file must be in use; empty for none.
    type: str
    default: ""
  ssh_ports:
    description: The ports of SSH that the firewall must leave open; empty where there is no firewall of ours.
    type: list
    elements: int
    default: []
  patience:
    description: For how many seconds what is wrong may get right by itself.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Check the proxy
  ocore_verify:
    steps: [proxy]
    docker_minimum_version: "24"
    network: ocore
    proxy: {kind: nginx, unit: proxy.service, image: "nginx:1.29.3", command: [nginx, -v]}
"""

RETURN = r"""
wrong:
  description: What is wrong, one sentence for each thing.
  returned: always
  type: list
  elements: str
  sample: ["nothing answers on port 80 (Connection refused)"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ocore_checks import CHECKS, Server, wrong_after

OPTIONS = {
    "steps": {"type": "list", "elements": "str", "choices": list(CHECKS), "required": True},
    "docker_minimum_version": {"type": "str", "required": True},
    "docker_info": {"type": "dict", "default": {}},
    "network": {"type": "str", "required": True},
    "server_id": {"type": "str", "default": ""},
    "proxy": {"type": "dict", "required": True},
    "agent": {"type": "dict", "default": {"unit": ""}},
    "swap": {"type": "str", "default": ""},
    "ssh_ports": {"type": "list", "elements": "int", "default": []},
    "patience": {"type": "int", "default": 20},
}


def main() -> None:
    """Answer one call."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    expected = module.params
    patience = 0 if module.check_mode else expected["patience"]
    wrong = wrong_after(expected["steps"], expected, Server(), patience)
    module.exit_json(changed=False, wrong=wrong)


if __name__ == "__main__":
    main()
