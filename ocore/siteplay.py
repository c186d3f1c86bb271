"""The playbook with a site's steps in it: ours, with the same tasks for each of theirs as for ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from ocore import content
from ocore.site import VERIFY, registry
from ocore.steps import CHANGING

if TYPE_CHECKING:
    from ocore.site import Site

Task = dict[str, Any]
NAME: Final = "provision"
PLAYBOOK: Final = f"{NAME}.yml"
LOOK: Final = "tasks/look.yml"
ROLES: Final = "roles/"
_KNOW: Final = "Know what verify wants"
# Tasks of ours whose tags are the names of all steps.
_TAGGED: Final = ("Refuse a system that the roles do not know", "Forget that the server was verified")


def files(site: Site) -> dict[str, bytes]:
    """Return everything that a run with a site plays from one folder: playbook, tasks and the site's roles."""
    [play] = _read(PLAYBOOK)
    look = _read(LOOK)
    _extend_play(play, site)
    _extend_look(look[0]["ocore_look"], site)
    return {PLAYBOOK: _spelled([play]), LOOK: _spelled(look), **dict(site.files)}


def _read(name: str) -> Any:
    return yaml.safe_load((content.root() / "playbooks" / name).read_text(encoding="utf-8"))


def _spelled(value: Any) -> bytes:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10**6)
    return f"---\n# Made by oCore from its own playbook and a site's steps.\n{text}".encode()


def _extend_play(play: dict[str, Any], site: Site) -> None:
    tasks: list[Task] = play["tasks"]
    names = [step.name for step in site.steps]
    states = "".join(f" + {name}_state" for name in names)
    play["vars"]["verify_wants"] = play["vars"]["verify_wants"].removesuffix(" }}") + states + " }}"
    at = _index(tasks, _KNOW)
    tasks[at:at] = [_know(name) for name in names]
    for task in tasks:
        if task["name"] in _TAGGED:
            task["tags"] = [*task["tags"], *names]
    order = [step.name for step in registry(site)]
    for name in sorted(names, key=order.index):
        at = _end_of(tasks, order[order.index(name) - 1])
        tasks[at:at] = _step(name)
    _leave_out(tasks[_index(tasks, f"Step {VERIFY}")], names)


def _leave_out(verify: Task, names: list[str]) -> None:
    """Let `verify` check what it knows: a site's steps are looked at when they have run."""
    chosen = verify["vars"]["verify_steps"].removeprefix("{{ ").removesuffix(" }}")
    # An empty list would stand for all.
    verify["vars"]["verify_steps"] = f"{{{{ ({chosen} | list | difference({names!r})) or ['{CHANGING[0]}'] }}}}"


def _index(tasks: list[Task], name: str) -> int:
    return next(number for number, task in enumerate(tasks) if task["name"] == name)


def _end_of(tasks: list[Task], step: str) -> int:
    """Return the position after a step's last task."""
    ends = (f"Mark {step}", f"Look again after {step}")
    return max(number for number, task in enumerate(tasks) if task["name"] in ends) + 1


def _know(name: str) -> Task:
    role = {"name": name, "tasks_from": "state", "rolespec_validate": False}
    return {"name": f"Know what {name} wants", "ansible.builtin.import_role": role}


def _step(name: str) -> list[Task]:
    """Return the tasks of one step: as ours, and it must be so afterwards, since `verify` does not know it."""
    due = f"'{name}' in ocore_due"
    undone = f"not ocore_look.look['{name}'].so"
    words = (
        f"The step {name} ran, but what it wants is not so: "
        f"{{{{ ocore_look.look['{name}'].reasons | join('; ') }}}}. Its role and its {name}_state do not agree."
    )
    return [
        {
            "name": f"Step {name}",
            "ansible.builtin.include_role": {"name": name, "apply": {"tags": [name]}},
            "when": due,
            "tags": [name],
        },
        {
            "name": f"Look again after {name}",
            "ansible.builtin.include_tasks": {"file": LOOK, "apply": {"tags": [name]}},
            "when": due,
            "tags": [name],
        },
        {
            "name": f"Refuse what {name} left undone",
            "ansible.builtin.fail": {"msg": words},
            "when": [due, "not ansible_check_mode", undone],
            "tags": [name],
        },
        {
            "name": f"Mark {name}",
            "ansible.builtin.debug": {"msg": f"{{{{ ocore_nonce }}}}:{name}"},
            "when": due,
            "tags": [name],
        },
    ]


def _extend_look(look: dict[str, Any], site: Site) -> None:
    ours = {step["name"]: step for step in look["steps"]}
    theirs = {
        step.name: {"name": step.name, "needs": list(step.needs), "wants": f"{{{{ {step.name}_state }}}}"}
        for step in site.steps
    }
    order = [step.name for step in registry(site) if not step.validates]
    look["steps"] = [ours.get(name) or theirs[name] for name in order]
    ours[VERIFY]["needs"] = [*ours[VERIFY]["needs"], *theirs]
