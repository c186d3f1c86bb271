"""Runs a reading module of ours the light way; the other names in this folder are links to this file.

Ansible packs a module together with some 180 KB of its own library, which a server must compile anew for each call:
about a third of a second here and there. Our reading modules need of all that one class, for which
`module_utils/ocore_light.py` stands, so they are sent with our own files only, over the same connection and with the
same way of becoming root. What a server answers is cut to what the module's own RETURN names.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import zlib
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

ROOM = Path(__file__).resolve().parent.parent
PREFIX = "ansible.module_utils."
ALWAYS = {"changed", "failed", "msg", "warnings"}

# What the server's Python reads from its standard input.
PROGRAM = """
import base64, json, sys, zlib
from importlib.machinery import ModuleSpec

sources, main, arguments, check_mode = json.loads(zlib.decompress(base64.b64decode("%s")).decode())


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        packages = ("ansible", "ansible.module_utils")
        return ModuleSpec(name, Finder, is_package=name in packages) if name in packages or name in sources else None

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        name = module.__name__
        exec(compile(sources.get(name, ""), name, "exec"), module.__dict__)


sys.meta_path.insert(0, Finder)
from ansible.module_utils import basic

basic.ARGUMENTS, basic.CHECK_MODE = arguments, check_mode
exec(compile(main, "module", "exec"), {"__name__": "__main__"})
"""


class ActionModule(ActionBase):
    """Sends the module of the task's own name."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module and return its answer."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        interpreter = self._interpreter(task_vars or {})
        if interpreter is None:
            # Ansible finds one on the way, and remembers it for the next task.
            return result | self._execute_module(task_vars=task_vars)
        command = f"{self._compute_environment_string()} {shlex.quote(interpreter)}".strip()
        main = (ROOM / "library" / f"{self._task.action}.py").read_text(encoding="utf-8")
        said = self._low_level_execute_command(command, in_data=self._program(main))
        return result | self._answer(said, main)

    def _interpreter(self, task_vars: dict[str, Any]) -> str | None:
        given = task_vars.get("ansible_python_interpreter")
        found = (task_vars.get("ansible_facts") or {}).get("discovered_interpreter_python")
        path = str(given or found or "")
        return path if path.startswith("/") and not self._task.delegate_to else None

    def _program(self, main: str) -> bytes:
        folder = ROOM / "module_utils"
        sources = {PREFIX + file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("ocore_*.py"))}
        sources[PREFIX + "basic"] = sources.pop(PREFIX + "ocore_light")
        parts = json.dumps([sources, main, self._task.args, bool(self._task.check_mode)])
        return (PROGRAM % base64.b64encode(zlib.compress(parts.encode())).decode()).encode()

    @staticmethod
    def _answer(said: dict[str, Any], main: str) -> dict[str, Any]:
        """Return what the server said, cut to what one of these modules may say."""
        lines = [line for line in said["stdout"].splitlines() if line.startswith("{")]
        try:
            found = json.loads(lines[-1]) if said["rc"] == 0 else None
        except (IndexError, RecursionError, ValueError):
            found = None
        if not isinstance(found, dict):
            return {"failed": True, "msg": "MODULE FAILURE", "rc": said["rc"], "module_stderr": said["stderr"]}
        documented = re.search(r'^RETURN = r"""\n(.*?)"""', main, re.DOTALL | re.MULTILINE)
        names = ALWAYS.union(re.findall(r"^(\w+):", documented.group(1), re.MULTILINE) if documented else ())
        facts = found.pop("ansible_facts", None)
        answer = {key: found[key] for key in names if key in found}
        if isinstance(facts, dict) and isinstance(facts.get("ocore"), dict):
            answer["ansible_facts"] = {"ocore": facts["ocore"]}
        return answer
