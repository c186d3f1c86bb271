"""Recorded streams of real runs give the results that those runs had."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import ocore
from ocore.testing import ReplayTransport
from tests.record import FOLDER, summary
from tests.unit.streams import server

if TYPE_CHECKING:
    from pathlib import Path

RUNS = {"provision": ocore.provision, "validate": ocore.validate, "cleanup": ocore.cleanup}
RECORDINGS = sorted(FOLDER.glob("*.jsonl"))


def test_there_are_recordings() -> None:
    """The data is there: without it the next test would pass over nothing."""
    assert len(RECORDINGS) >= 8


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_gives_its_result(recording: Path) -> None:
    """Status, error, steps, specs and notes are those of the recorded run."""
    expected = json.loads(recording.with_suffix(".json").read_text(encoding="utf-8"))
    # Messages name the login as it was given; the recorded one was a test host's.
    given = server(user=expected["steps"][0]["message"].partition("@")[0].rpartition(" ")[2])
    found = summary(RUNS[expected["kind"]](given, transport=ReplayTransport(recording)))

    for step in (*expected["steps"], *found["steps"]):
        if step["step"] == "connect":
            del step["message"]
    assert found == expected


def test_every_task_of_a_role_is_counted() -> None:
    """Whatever its name begins with: the figures are those of Ansible's own events."""
    recording = FOLDER / "bare.jsonl"
    told = [json.loads(line) for line in recording.read_text(encoding="utf-8").splitlines()]
    ended = [one for one in told if one.get("event") == "runner_on_ok" and one.get("role")]
    found = ocore.provision(server(), transport=ReplayTransport(recording))
    for step in found.steps:
        own = [one["result"].get("changed") is True for one in ended if one["role"] == step.step]
        assert (step.tasks, step.changed) == (len(own), sum(own)), step.step
