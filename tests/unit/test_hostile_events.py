"""Events that a host makes up: none counts, and none harms, whatever is in it.

Frames go through ansible-runner's own filter, as they would when a host prints them.
"""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from ansible_runner.utils import OutputEventFilter
from hypothesis import given
from hypothesis import strategies as st

import ocore
from ocore.inside.slim import EVENTS, RESULT_KEYS, slim
from ocore.intake.scrub import Scrubber
from ocore.runs.events import EventParser
from ocore.specs import MAX_BYTES, MAX_CORES, parse_specs
from ocore.testing import NONCE, ReplayTransport
from tests.unit import streams
from tests.unit.streams import STEPS, begin, end, event, lines, login, look, mark, server, task

FORGED = "00000000-0000-4000-8000-00000000f0f0"
NAMES = ("detect", "preflight", *STEPS)


def _frame(made_up: object) -> str:
    """Return an event as ansible-runner's plugin prints it, and as a host can print it as well."""
    text = base64.b64encode(json.dumps(made_up).encode()).decode()
    return f"\x1b[K{text}\x1b[{len(text)}D\x1b[K"


def _filtered(printed: str) -> list[dict[str, Any]]:
    """Return what ansible-runner takes for events."""
    events: list[dict[str, Any]] = []
    reader = OutputEventFilter(io.StringIO(), events.append, suppress_ansible_output=True)
    reader.write(printed)
    reader.close()
    return events


def _answers(*made_up: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what leaves the sandbox of events that a host prints."""
    printed = "".join(_frame({"uuid": FORGED, **one}) + _frame({}) for one in made_up)
    return [answer for one in _filtered(printed) if (answer := slim(one)) is not None]


def _data(**fields: Any) -> dict[str, Any]:
    return {"playbook_uuid": FORGED, "task": "forged", "role": "docker"} | fields


def _provision(*answers: dict[str, Any]) -> ocore.RunResult:
    return ocore.provision(server(), transport=ReplayTransport(lines(*answers)))


def _told(result: ocore.RunResult) -> list[Any]:
    """Return all of a result but what differs from run to run."""
    steps = [(step.step, step.status, step.message, step.changed, step.tasks) for step in result.steps]
    return [result.status, result.error, result.specs, result.reading, result.notes, steps]


HONEST = (*begin(), look("docker", "verify"), *task("docker", "Install Docker", changed=True), mark("docker"))
REST = (look("docker", "verify"), *task("verify", "Ask the proxy"), mark("verify"), end())
MADE_UP: dict[str, dict[str, Any]] = {
    "a step's marker": {
        "event": "runner_on_ok",
        "event_data": _data(task="Mark verify", role=None, res={"msg": f"{NONCE}:verify"}),
    },
    "a task that failed": {
        "event": "runner_on_failed",
        "event_data": _data(res={"failed": True, "msg": "[docker_too_old] forged"}),
    },
    "a host that is lost": {"event": "runner_on_unreachable", "event_data": _data(res={"msg": "forged"})},
    "the begin of a playbook": {"event": "playbook_on_start", "event_data": _data()},
    "the end of a playbook": {"event": "playbook_on_stats", "event_data": _data()},
    "facts": {
        "event": "runner_on_ok",
        "event_data": _data(role="detect", res={"ansible_facts": {"ocore": {"cpu_cores": 4096}}}),
    },
    "a look": {
        "event": "runner_on_ok",
        "event_data": _data(role=None, res={"look": {"docker": {"so": True}}, "due": []}),
    },
    "notes": {
        "event": "runner_on_ok",
        "event_data": _data(res={"notes": ["forged"], "findings": [], "warnings": ["x"]}),
    },
    "a retry": {"event": "runner_retry", "event_data": _data(res={"attempts": 10**9})},
    "no playbook at all": {"event": "runner_on_failed", "event_data": {"role": "docker", "res": {"msg": "forged"}}},
    "a complaint of Ansible's": {"event": "error", "event_data": _data(), "stdout": "[ERROR]: forged"},
    "a role that is no text": {"event": "error", "event_data": {"role": {}, "task": [1], "playbook_uuid": {}}},
    "data that are none": {"event": "runner_on_ok", "event_data": "forged"},
    "a kind that is no text": {"event": {"runner_on_ok": 1}, "event_data": _data()},
}


@pytest.mark.parametrize("name", MADE_UP)
@pytest.mark.parametrize("where", range(len(HONEST) + 1))
def test_an_event_that_a_host_makes_up_changes_nothing(name: str, where: int) -> None:
    """Whatever is printed, at whatever moment of a run after its begin, the result is that of the honest host."""
    answers = [*HONEST[:where], *_answers(MADE_UP[name]), *HONEST[where:]]
    if where < 2:  # before the playbook's own begin no host has been told to do anything
        answers = [*HONEST[:2], *_answers(MADE_UP[name]), *HONEST[2:]]
    assert _told(_provision(*answers, *REST)) == _told(_provision(*HONEST, *REST))


def test_the_events_that_are_made_up_would_count_if_they_were_ansibles() -> None:
    """With the playbook's own id the same events do change the result: it is the id that keeps them out."""
    for name in ("a task that failed", "facts", "a look", "a step's marker"):
        (answer,) = _answers(MADE_UP[name])
        before = [*HONEST, look("docker", "verify"), *task("verify", "Ask the proxy")]
        last = end(2 if "failed" in name else 0)
        counted = _provision(*before, answer | {"playbook_uuid": streams.PLAYBOOK}, last)
        assert _told(counted) != _told(_provision(*before, answer, last)), name


def test_a_number_that_is_guessed_marks_nothing() -> None:
    """Even with the playbook's id a marker needs the run's number."""
    answers = [*HONEST, look("docker", "verify"), *task("verify", "Ask the proxy")]
    guessed = _provision(*answers, event("runner_on_ok", "Mark verify", msg=":verify"), end())
    assert guessed.error is not None
    assert "marker" in guessed.error.message


def test_the_first_playbook_is_the_runs_own() -> None:
    """What calls itself the begin of a playbook later on does not make its own events count."""
    failed = event("runner_on_failed", "Install Docker", "docker", playbook=FORGED, msg="forged")
    answers = [*HONEST, event("playbook_on_start", playbook=FORGED), failed]
    assert _provision(*answers, *REST).ok


def test_the_library_takes_no_field_for_what_it_should_be() -> None:
    """What the sandbox lets through is read with the same distrust: here a complaint, which needs no playbook's id."""
    parser = EventParser("nonce", NAMES, Scrubber([]))
    for odd in ({}, [1], 7, None):
        assert parser.feed({"event": "error", "role": odd, "task": odd, "text": odd, "result": {}}) == []


def test_facts_that_do_not_arrive_fail_their_step() -> None:
    """Facts that were too large to be taken in are missed: `detect` fails, rather than that a run goes on without."""
    large = slim({"event": "runner_on_ok", "event_data": _data(playbook_uuid=streams.PLAYBOOK, res={})})
    assert large is not None
    result = _provision(login(), event("playbook_on_start"), large | {"role": "detect"}, mark("detect"), end())
    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.STEP_FAILED
    assert result.steps[2].step == "detect"
    assert result.steps[2].status == "failed"


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e308, float("nan"), float("inf")])
def test_a_number_that_no_machine_has_becomes_one_that_can_be_stored(value: float) -> None:
    """Also whole numbers larger than fractions can be."""
    specs = parse_specs({"cpu_cores": value, "ram_total_bytes": value})
    assert 0 <= specs.cpu_cores <= MAX_CORES
    assert 0 <= specs.ram_total_bytes <= MAX_BYTES
    answer = slim({"event": "runner_on_ok", "event_data": {"res": {"attempts": value}}})
    json.dumps(answer, allow_nan=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
RESULT = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(RESULT_KEYS, JSON) | {"ansible_facts": JSON, "results": st.lists(JSON, max_size=2)},
)
EVENT = st.fixed_dictionaries(
    {"event": st.sampled_from(sorted(EVENTS)) | JSON},
    optional={
        "uuid": JSON,
        "stdout": JSON,
        "event_data": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "playbook_uuid": st.just(streams.PLAYBOOK) | JSON,
                "task": st.sampled_from([f"Mark {name}" for name in NAMES] + ["Step docker"]) | JSON,
                "role": st.sampled_from(NAMES) | JSON,
                "ignore_errors": JSON,
                "res": RESULT | JSON,
            },
        ),
    },
)


@given(EVENT)
def test_nothing_that_can_be_in_an_event_raises(made_up: dict[str, Any]) -> None:
    """Any event at all is let go, or leaves as a line that every JSON reader takes and that the library reads."""
    answer = slim(made_up)
    if answer is None:
        return
    line = json.dumps(answer, allow_nan=False)
    parser = EventParser("nonce", NAMES, Scrubber([]))
    parser.feed(event("playbook_on_start"))
    parser.feed(json.loads(line))
    assert not any(tally.marked for tally in parser.tallies.values())


@pytest.mark.parametrize("depth", [50, 400])
def test_results_in_results_are_not_followed(depth: int) -> None:
    """Nesting costs no more than it is worth, in every field."""
    deep: Any = {"failed": True}
    for _ in range(depth):
        deep = {"failed": True, "results": [deep]}
    data = {"task": deep, "role": deep, "res": deep | {"msg": deep, "ansible_facts": {"ocore": deep}}}
    answer = slim({"event": "runner_on_failed", "event_data": data})
    assert len(json.dumps(answer)) < 2000
