"""Ansible puts our modules and what they share together when it sends them; here they are imported where they lie."""

from __future__ import annotations

import sys
from pathlib import Path

import ansible.module_utils

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"

sys.path.insert(0, str(PLAYBOOKS / "library"))
ansible.module_utils.__path__.append(str(PLAYBOOKS / "module_utils"))
