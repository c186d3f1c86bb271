"""One declaration for each step: the registry, the playbooks, the roles and their documentation agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ocore import content
from ocore.errors import ConfigError
from ocore.options import ProvisionOptions
from ocore.steps import BY_NAME, CHANGING, CLEANUP, STEPS, VALIDATION

if TYPE_CHECKING:
    from pathlib import Path

ROLES = content.root() / "roles"
PLAYBOOKS = content.root() / "playbooks"


def read(path: Path) -> Any:
    """Return a YAML file's content; tags of Ansible's own do not occur in these."""
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def tasks_of(playbook: str) -> list[dict[str, Any]]:
    """Return the tasks of a playbook's one play."""
    [play] = read(PLAYBOOKS / f"{playbook}.yml")
    tasks: list[dict[str, Any]] = play["tasks"]
    return tasks


def role_of(task: dict[str, Any]) -> dict[str, Any] | None:
    """Return the role that a task plays as a step; what is imported from a role beside its tasks is none."""
    role: dict[str, Any] | None = task.get("ansible.builtin.include_role") or task.get("ansible.builtin.import_role")
    return None if role and "tasks_from" in role else role


def included(playbook: str) -> list[str]:
    """Return the roles that a playbook plays as steps, in order."""
    roles = [role_of(task) for task in tasks_of(playbook)]
    return [role["name"] for role in roles if role]


@pytest.mark.parametrize(
    ("playbook", "steps"),
    [
        ("validate", VALIDATION),
        ("provision", tuple(step.name for step in STEPS)),
        ("cleanup", tuple(step.name for step in CLEANUP)),
        ("facts", ("connect", "privileges", "detect")),
    ],
)
def test_a_playbook_lists_its_steps_in_order(playbook: str, steps: tuple[str, ...]) -> None:
    """A playbook includes the registry's steps, in the registry's order."""
    assert tuple(included(playbook)) == steps


@pytest.mark.parametrize("playbook", ["validate", "provision", "cleanup", "facts"])
def test_every_step_is_tagged_and_marked(playbook: str) -> None:
    """Each has its step's name and tag, hands the tag on to its tasks, and is followed by the step's marker."""
    tasks = tasks_of(playbook)
    for index, task in enumerate(tasks):
        role = role_of(task)
        if role is None:
            continue
        name = role["name"]
        marker = next(later for later in tasks[index + 1 :] if str(later["name"]).startswith("Mark "))
        assert task["name"] == f"Step {name}"
        assert name in task["tags"]
        # What is imported has the task's own tags.
        assert "ansible.builtin.import_role" in task or name in role["apply"]["tags"]
        assert marker["name"] == f"Mark {name}"
        assert marker["ansible.builtin.debug"]["msg"] == "{{ ocore_nonce }}:" + name
        assert name in marker["tags"]
        assert marker.get("when") == task.get("when")


def test_a_step_runs_only_when_it_is_due() -> None:
    """Each changing step of provisioning is guarded by the look."""
    guards = {
        task["ansible.builtin.include_role"]["name"]: task.get("when")
        for task in tasks_of("provision")
        if "ansible.builtin.include_role" in task
    }
    for step in CHANGING:
        assert guards[step] == f"'{step}' in ocore_due"


def test_every_role_is_a_step_and_every_step_a_role() -> None:
    """The folders under roles are the registry's steps."""
    assert {path.name for path in ROLES.iterdir() if path.is_dir()} == set(BY_NAME)


def test_the_look_knows_the_registrys_dependencies() -> None:
    """What depends on what is the same in the look's task and in the registry."""
    [task] = [one for one in read(PLAYBOOKS / "tasks" / "look.yml") if "ocore_look" in one]
    needs = {step["name"]: tuple(step.get("needs", ())) for step in task["ocore_look"]["steps"]}
    assert needs == {name: BY_NAME[name].needs for name in CHANGING}


@pytest.mark.parametrize("role", sorted(BY_NAME))
def test_a_roles_interface_is_written_once(role: str) -> None:
    """Argument specs and defaults agree, and the README names every variable."""
    specs = read(ROLES / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]
    options = specs.get("options", {})
    defaults = read(ROLES / role / "defaults" / "main.yml") or {}
    readme = (ROLES / role / "README.md").read_text(encoding="utf-8")

    assert {name: option["default"] for name, option in options.items() if "default" in option} == defaults
    assert all(name.startswith(f"{role}_") for name in options)
    assert [name for name in options if name not in readme] == []


WAITING = [name for name in BY_NAME if f"{name}_lock_timeout" in (read(ROLES / name / "defaults" / "main.yml") or {})]


@pytest.mark.parametrize("role", WAITING)
def test_a_step_has_time_after_it_has_waited(role: str) -> None:
    """For the package manager, as long as can be asked for: it must end with `package_lock` and not be stopped."""
    longest = max(value for value in range(0, 7200, 60) if is_taken(lock_timeout=value))
    assert BY_NAME[role].timeout >= longest + 300


def is_taken(**option: int) -> bool:
    """Tell whether an option may have a value."""
    try:
        ProvisionOptions(**option)  # type: ignore[arg-type]
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("role", sorted(BY_NAME))
def test_roles_use_builtin_and_our_own_modules_only(role: str) -> None:
    """No role needs a collection that a person would have to install first."""
    ours = {path.stem for path in (PLAYBOOKS / "library").glob("*.py")}
    for file in [*(ROLES / role).glob("tasks/*.yml"), *(ROLES / role).glob("handlers/*.yml")]:
        for task in read(file) or []:
            for name in _modules(task):
                assert name in ours or name.startswith("ansible.builtin."), f"{file}: {name}"


KEYWORDS = {
    "name", "when", "tags", "loop", "loop_control", "register", "changed_when", "failed_when", "notify", "become",
    "vars", "check_mode", "until", "retries", "delay", "block", "rescue", "always", "no_log", "environment", "listen",
    "diff", "args", "run_once", "delegate_to", "ignore_unreachable", "throttle", "timeout", "become_user",
}  # fmt: skip


def _modules(task: dict[str, Any]) -> list[str]:
    inner = [one for part in ("block", "rescue", "always") for one in task.get(part, [])]
    return [name for name in task if name not in KEYWORDS] + [name for one in inner for name in _modules(one)]
