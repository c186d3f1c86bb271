"""Stands for `ansible.module_utils.basic` where a module of ours is run the light way (see `action_plugins`).

It has what a module needs that only reads and answers: its parameters, checked, and its answer as JSON. Importing the
original takes a server longer than all that such a module does.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Callable, Dict, List

# Set by who runs the module.
ARGUMENTS: Dict[str, Any] = {}
CHECK_MODE = False

TRUE, FALSE = ("1", "on", "true", "y", "yes"), ("0", "false", "n", "no", "off")


def _boolean(value: Any) -> bool:
    word = str(value).lower()
    if word not in TRUE + FALSE:
        raise ValueError("is not a boolean")
    return word in TRUE


def _list(value: Any) -> List[Any]:
    return list(value) if isinstance(value, list) else str(value).split(",")


def _dict(value: Any) -> Dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("is not a dictionary")
    return value


TYPES: Dict[str, Callable[[Any], Any]] = {
    "bool": _boolean, "dict": _dict, "float": float, "int": int, "list": _list, "str": str,
}  # fmt: skip


def _parameter(rule: Dict[str, Any], value: Any) -> Any:
    """Return one parameter as its rule wants it, or raise ValueError or TypeError."""
    value = TYPES[rule.get("type", "str")](value)
    if rule.get("elements"):
        value = [TYPES[rule["elements"]](one) for one in value]
    for one in value if isinstance(value, list) else [value]:
        if rule.get("choices") and one not in rule["choices"]:
            raise ValueError("must be one of: %s" % ", ".join(rule["choices"]))
    return value


class AnsibleModule:
    """As much of Ansible's class of this name as our reading modules use."""

    def __init__(self, argument_spec: Dict[str, Dict[str, Any]], *, supports_check_mode: bool = False) -> None:
        """Check the parameters against the module's specification."""
        self.check_mode = CHECK_MODE and supports_check_mode
        self.params: Dict[str, Any] = {}
        self._warnings: List[str] = []
        unknown = sorted(set(ARGUMENTS) - set(argument_spec))
        if unknown:
            self.fail_json("Unsupported parameters: %s" % ", ".join(unknown))
        for name, rule in argument_spec.items():
            value = ARGUMENTS.get(name, rule.get("default"))
            if value is None and rule.get("required"):
                self.fail_json("missing required arguments: %s" % name)
            try:
                self.params[name] = None if value is None else _parameter(rule, value)
            except (TypeError, ValueError) as error:
                self.fail_json("argument '%s': %s" % (name, error))

    def warn(self, warning: str) -> None:
        """Add a warning to the answer."""
        self._warnings.append(warning)

    def exit_json(self, **answer: Any) -> None:
        """Answer, and end."""
        if self._warnings:
            answer["warnings"] = self._warnings
        sys.stdout.write("\n%s\n" % json.dumps(answer))
        sys.exit(0)

    def fail_json(self, msg: str, **answer: Any) -> None:
        """Say what is wrong, and end."""
        self.exit_json(failed=True, msg=msg, **answer)
