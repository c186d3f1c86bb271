"""What of ansible-runner's events leaves the sandbox: the few fields that are used, each bounded.

A host can print text that ansible-runner takes for an event, so an event may have anything in any field.
"""

from __future__ import annotations

import math
from typing import Any, Final

MAX_TEXT: Final = 4000
MAX_LIST: Final = 200
MAX_DEPTH: Final = 8
MAX_NUMBER: Final = 2**63 - 1

# What a task's result may tell us. `ansible_facts` is cut to our own fact.
RESULT_KEYS: Final = (
    "attempts", "censored", "changed", "due", "findings", "look", "module_stderr", "msg", "notes", "stderr", "stdout",
    "warnings",
)  # fmt: skip
EVENTS: Final = frozenset(
    {
        "playbook_on_start",
        "playbook_on_task_start",
        "runner_on_failed",
        "runner_on_ok",
        "runner_on_skipped",
        "runner_on_unreachable",
        "runner_retry",
        "runner_item_on_failed",
        "error",
        "verbose",
    }
)
_DETAILS: Final = frozenset({"playbook_on_task_start", "runner_on_skipped", "runner_retry"})


def bounded(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return a value with texts cut, lists and dicts shortened, and nesting limited."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if depth == 0:
        return None
    if isinstance(value, list | tuple):
        return [bounded(one, depth - 1) for one in value[:MAX_LIST]]
    if isinstance(value, dict):
        return {str(name)[:200]: bounded(one, depth - 1) for name, one in list(value.items())[:MAX_LIST]}
    return _number(value) if isinstance(value, int | float) else None


def _number(value: float) -> float | None:
    """Return a number that every JSON reader takes."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool) else max(-MAX_NUMBER, min(value, MAX_NUMBER))


def _word(value: Any) -> str | None:
    return value[:MAX_TEXT] if isinstance(value, str) else None


def _result(raw: Any, *, of_item: bool = False) -> dict[str, Any]:
    if not isinstance(raw, dict):
        return {}
    result = {name: bounded(raw[name]) for name in RESULT_KEYS if name in raw}
    facts = raw.get("ansible_facts")
    if isinstance(facts, dict) and isinstance(facts.get("ocore"), dict):
        result["facts"] = bounded(facts["ocore"])
    # A loop's own message says only that an item failed.
    items = raw.get("results")
    if isinstance(items, list) and not of_item:
        failed = [item for item in items if isinstance(item, dict) and item.get("failed")]
        if failed:
            result["item"] = _result(failed[0], of_item=True)
    return result


def slim(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return what leaves the sandbox of one event, or None where nothing does."""
    kind = event.get("event")
    if not isinstance(kind, str) or kind not in EVENTS:
        return None
    # Where Ansible cannot even begin it only prints why, and ansible-runner makes that "verbose".
    if kind == "verbose" and "[ERROR]" not in str(event.get("stdout")):
        return None
    data = event.get("event_data")
    if not isinstance(data, dict):
        data = {}
    answer = {
        "type": "event",
        "event": kind,
        **{name: _word(data.get(name)) for name in ("playbook_uuid", "task", "role")},
        "ignore_errors": data.get("ignore_errors") is True,
        "result": _result(data.get("res")),
    }
    if kind in {"error", "verbose"}:
        answer["text"] = str(event.get("stdout", ""))[:MAX_TEXT]
    return answer


def is_detail(answer: dict[str, Any]) -> bool:
    """Tell whether an answer may be dropped: what decides a step's outcome may not."""
    return answer["event"] in _DETAILS or (answer["event"] == "runner_on_ok" and not answer["result"].get("msg"))
