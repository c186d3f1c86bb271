"""Reading modules that are sent the light way answer as they do when Ansible itself packs them."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils import ocore_light
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from tests.unit.test_content_agrees import PLAYBOOKS

PLUGINS = PLAYBOOKS / "action_plugins"
NAMES = sorted(path.stem for path in PLUGINS.glob("*.py"))
SPECIFICATION: dict[str, dict[str, Any]] = {
    "steps": {"type": "list", "elements": "dict", "required": True},
    "force": {"type": "bool", "default": False},
    "only": {"type": "list", "elements": "str", "choices": ["docker", "proxy"], "default": []},
    "minimum": {"type": "int", "default": 3},
    "facts": {"type": "dict"},
    "name": {"default": ""},
}
GOOD: list[dict[str, Any]] = [
    {"steps": []},
    {"steps": [{"name": "docker"}], "force": "yes", "only": ["docker"], "minimum": "900", "facts": {"a": [1]}},
    {"steps": [], "force": True, "only": "docker,proxy", "name": "x", "minimum": 0},
    {"steps": [], "force": "False", "name": 7},
]
BAD: list[dict[str, Any]] = [
    {},
    {"steps": [], "other": 1},
    {"steps": [], "force": "perhaps"},
    {"steps": [], "minimum": "many"},
    {"steps": [], "only": ["swap"]},
    {"steps": ["docker"]},
    {"steps": [], "facts": 7},
]


def _plugin() -> Any:
    specification = importlib.util.spec_from_file_location("ocore_action", PLUGINS / "ocore_facts.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _source(name: str) -> str:
    return (PLAYBOOKS / "library" / f"{name}.py").read_text(encoding="utf-8")


def _ran(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a module the light way on this machine, as a server's Python would, and return the plugin's result."""
    plugin = _plugin()
    task = SimpleNamespace(args=arguments, check_mode=False)
    # The part that needs no connection.
    program = plugin.ActionModule._program(SimpleNamespace(_task=task), _source(name))  # noqa: SLF001
    # -I: without what this project's Python can import, as on a server.
    done = subprocess.run([sys.executable, "-I", "-"], input=program, capture_output=True, check=False)
    said = {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}
    answer: dict[str, Any] = plugin.ActionModule._answer(said, _source(name))  # noqa: SLF001 - likewise
    return answer


def _checked(arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(ocore_light, "ARGUMENTS", arguments)
    return ocore_light.AnsibleModule(argument_spec=SPECIFICATION).params


def test_every_plugin_is_a_module_of_that_name() -> None:
    """Each plugin is the one program under a module's name."""
    assert NAMES
    for name in NAMES:
        assert (PLAYBOOKS / "library" / f"{name}.py").exists()
        assert Path(PLUGINS / f"{name}.py").read_bytes() == (PLUGINS / "ocore_facts.py").read_bytes()


@pytest.mark.parametrize("arguments", GOOD)
def test_parameters_are_taken_as_ansible_takes_them(arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ansible accepts becomes the same values."""
    theirs = ArgumentSpecValidator(SPECIFICATION).validate(arguments)
    assert not theirs.error_messages
    assert _checked(arguments, monkeypatch) == theirs.validated_parameters


@pytest.mark.parametrize("arguments", BAD)
def test_parameters_are_refused_as_ansible_refuses_them(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What Ansible refuses ends the module with an answer that says so."""
    theirs = ArgumentSpecValidator(SPECIFICATION).validate(arguments)
    assert theirs.error_messages or theirs.unsupported_parameters
    with pytest.raises(SystemExit):
        _checked(arguments, monkeypatch)
    answer = json.loads(capsys.readouterr().out)
    assert answer["failed"] is True
    assert answer["msg"]


def test_facts_are_read_the_light_way() -> None:
    """The module runs by itself with nothing but our own files."""
    answer = _ran("ocore_facts", {})
    assert answer["changed"] is False
    assert answer["ansible_facts"]["ocore"]["cpu_cores"] > 0


def test_a_look_is_taken_the_light_way() -> None:
    """Parameters arrive and the answer comes back."""
    wants = [{"kind": "file", "path": "/nowhere"}]
    step = {"name": "runtime", "needs": [], "wants": wants}
    answer = _ran("ocore_look", {"steps": [step], "force": False, "only": [], "due": []})
    assert answer["due"] == ["runtime"]
    assert answer["look"]["runtime"]["so"] is False


def test_a_module_that_breaks_is_a_failure() -> None:
    """What is no answer fails the task, with the server's words."""
    answer = _ran("ocore_look", {"steps": [{"name": "runtime"}]})
    assert answer["failed"] is True
    assert "Traceback" in answer["module_stderr"]


@pytest.mark.parametrize("stdout", ["", "{", "[1]", '{"a": ' * 100_000, "7"])
def test_what_is_no_answer_is_a_failure(stdout: str) -> None:
    """A server that answers with something else fails its own task only."""
    answer = _plugin().ActionModule._answer({"rc": 0, "stdout": stdout, "stderr": "x"}, "")  # noqa: SLF001 - a pure part
    assert answer["failed"] is True


def test_an_answer_is_cut_to_what_a_module_may_say() -> None:
    """A server cannot set variables, hosts or facts beside ours by what it answers."""
    answer = {"changed": False, "ansible_facts": {"ocore": {"a": 1}, "x": 2}, "add_host": {}, "_ansible_no_log": True}
    said = {"rc": 0, "stdout": "noise\n" + json.dumps(answer), "stderr": ""}
    cut = _plugin().ActionModule._answer(said, _source("ocore_facts"))  # noqa: SLF001 - a pure part
    assert cut == {"changed": False, "ansible_facts": {"ocore": {"a": 1}}}
