"""The pure parts of what runs inside the sandbox."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

from ocore.inside import channel, playing, slim, supervisor
from ocore.inside.login import parse
from ocore.inside.playing import Player, literal

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_probes_answers_are_found_among_other_output() -> None:
    """What a login shell prints besides is passed over, and the first answer counts."""
    output = b"Welcome!\nocore uid 0\nocore become root\nocore uid 1000\nocore python /usr/bin/python3 3.13\n\xff\n"
    assert parse(output) == {"uid": "0", "become": "root", "python": "/usr/bin/python3 3.13"}


def test_texts_in_extra_variables_are_marked() -> None:
    """Every text is marked as literal, also in lists; other values are as they are."""
    assert literal(["a", True, 3]) == [{"__ansible_unsafe": "a"}, True, 3]


def test_an_event_leaves_the_sandbox_small() -> None:
    """Of an event only known fields leave, each bounded, and facts only if they are ours."""
    raw = {
        "event": "runner_on_ok",
        "stdout": "x" * 10**6,
        "event_data": {
            "playbook_uuid": "1",
            "task": "Read",
            "role": "detect",
            "res": {
                "msg": "m" * 10**5,
                "invocation": {"module_args": {"password": "secret"}},
                "ansible_facts": {"ocore": {"deep": [[[[[[[[[[1]]]]]]]]]]}, "inventory_hostname": "other"},
            },
        },
    }
    answer = slim.slim(raw)

    assert answer is not None
    text = json.dumps(answer)
    assert len(text) < 10_000
    assert "secret" not in text
    assert "inventory_hostname" not in text


def test_events_that_nobody_uses_stay_inside() -> None:
    """Ansible's own chatter does not leave, except where it says why it cannot begin."""
    assert slim.slim({"event": "verbose", "stdout": "PLAY [all]"}) is None
    answer = slim.slim({"event": "verbose", "stdout": "[ERROR]: the role 'x' was not found"})
    assert answer is not None
    assert "not found" in answer["text"]


def test_details_are_dropped_and_counted_when_nobody_reads() -> None:
    """With a reader that does not keep up details go, boundaries stay, and a gap says how many went."""
    reading, writing = os.pipe()
    queue = channel.Channel(writing)
    fill = {"type": "event", "text": "y" * 60_000}
    for number in range(channel.WAITING + 50):
        queue.say(fill | {"number": number} if number < 3 else {"number": number}, detail=True)
    queue.say({"boundary": True})
    closing = threading.Thread(target=queue.close)
    closing.start()
    with os.fdopen(reading, "rb") as file:
        received = [json.loads(line) for line in file]
    closing.join()

    assert received[-1] == {"boundary": True}
    assert sum(answer["dropped"] for answer in received if answer.get("type") == "gap") > 0


def test_a_player_that_cannot_begin_ends_with_the_reason(tmp_path: Path) -> None:
    """A work folder without room, or with something in the way, is no reason to wait for ever."""
    (tmp_path / "programs").write_text("in the way", encoding="utf-8")
    reading, writing = os.pipe()
    answers = channel.Channel(writing)
    code, words = Player(tmp_path, "run", answers)._ended.get(timeout=5)  # noqa: SLF001 - what `play` waits for
    assert (code, words.partition(":")[0]) == (1, "FileExistsError")
    answers.close()
    os.close(reading)


def test_the_program_is_written_before_anything_is_done_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is forked while a program is written keeps it open, and a program that is open for writing cannot start."""
    written = []

    class Watched(threading.Thread):
        def start(self) -> None:
            written.append((tmp_path / "programs" / "ansible-playbook").read_text(encoding="utf-8"))

    monkeypatch.setattr(playing, "Thread", Watched)
    reading, writing = os.pipe()
    answers = channel.Channel(writing)
    Player(tmp_path, "run", answers)
    assert [text.splitlines()[0] for text in written] == ["#!/bin/sh"]
    answers.close()
    os.close(reading)


def test_descendants_are_found_over_generations() -> None:
    """A process's descendants are its children, their children, and so on, and no one else."""
    parents = {2: 1, 3: 2, 4: 3, 5: 1, 6: 5}
    assert supervisor.children_of(parents, 2) == [3, 4]
