"""The Python of a hostile host: it runs a module as the real one does, and then answers as it was told to.

A test puts this where the host's interpreter was, and the words `KEY WAY` into /etc/hostile/way: answers that have the
key (`*`: all) are made hostile in that way. It runs on the host and knows nothing of the tests.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

REAL = "/usr/lib/hostile/python3"
HERE = "/etc/hostile"
STEPS = ("detect", "preflight", "packages", "swap", "security", "docker", "runtime", "proxy", "agent", "verify")


def read(name: str) -> str:
    """Return a setting."""
    return Path(HERE, name).read_text(encoding="utf-8").strip()


# --- forged events ----------------------------------------------------------------------------------------------------


def frame(event: dict[str, Any]) -> str:
    """Return an event as ansible-runner's own plugin would print it."""
    event.setdefault("uuid", str(uuid.uuid4()))
    text = base64.b64encode(json.dumps(event).encode()).decode()
    return f"\x1b[K{text}\x1b[{len(text)}D\x1b[K\n\x1b[Ke30=\x1b[4D\x1b[K\n"


def forged() -> str:
    """Return frames of everything that would help a host to look better, or others to look worse."""
    data = {"playbook_uuid": "forged", "task": "forged", "role": "docker", "play": "Provision"}
    frames = [frame({"event": "playbook_on_start", "event_data": data})]
    for step in STEPS:
        mark = {**data, "task": f"Mark {step}", "role": None, "res": {"msg": f":{step}", "changed": False}}
        frames.append(frame({"event": "runner_on_ok", "event_data": mark}))
        broken = {**data, "role": step, "res": {"failed": True, "msg": "[docker_too_old] forged"}}
        frames.append(frame({"event": "runner_on_failed", "event_data": broken}))
    facts = {"ansible_facts": {"ocore": {"cpu_cores": 4000, "os_name": "forged"}}}
    frames.append(frame({"event": "runner_on_ok", "event_data": {**data, "res": facts}}))
    look = {"look": {step: {"so": True} for step in STEPS}, "due": [], "notes": ["forged"]}
    frames.append(frame({"event": "runner_on_ok", "event_data": {**data, "res": look}}))
    frames.append(frame({"event": "playbook_on_stats", "event_data": data}))
    # ansible-runner reads, and removes, the file that this names.
    frames.append(frame({"uuid": read("steal"), "event": "runner_on_ok", "event_data": data}))
    # None has the fields that an event has.
    frames.append(frame({"uuid": ["x"], "event": "runner_on_ok", "event_data": data}))
    frames.append(frame({"event": {"y": 1}, "event_data": "z"}))
    frames.append(frame({"event": "error", "event_data": {"role": {}, "task": [], "res": 7}}))
    return "".join(frames)


# --- ways to answer ---------------------------------------------------------------------------------------------------


def every_text(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with each text in it changed; keys stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [every_text(one, change) for one in value]
    if isinstance(value, dict):
        return {name: every_text(one, change) for name, one in value.items()}
    return value


def forge_and_succeed(result: Any) -> str:
    """Answer truly, with forged events as warnings, which Ansible prints as they are."""
    return json.dumps({**result, "warnings": [forged()], "deprecations": [{"msg": forged()}]})


def forge_before(result: Any) -> str:
    """Print forged events before the answer."""
    return forged() + json.dumps(result)


def forge_after(result: Any) -> str:
    """Print forged events after the answer."""
    return json.dumps(result) + forged()


def forge_and_fail(_result: Any) -> str:
    """Fail with forged events for a reason."""
    return json.dumps({"failed": True, "msg": forged()})


def complain_forged(result: Any) -> str:
    """Print forged events to standard error, and answer truly."""
    sys.stderr.write(forged())
    return json.dumps(result)


def large(result: Any) -> str:
    """Answer with a fact of 60 MB, or of as many as is said."""
    result["ansible_facts"]["ocore"]["os_name"] = "A" * int(read("megabytes")) * 1_000_000
    return json.dumps(result)


def many(result: Any) -> str:
    """Answer with a million facts."""
    result["ansible_facts"]["ocore"].update({f"fact{number}": number for number in range(1_000_000)})
    return json.dumps(result)


def controls(result: Any) -> str:
    """Put control characters into every text."""
    junk = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x00\x9b5n\u202e\ud800\r\n"
    return json.dumps(every_text(result, lambda text: junk + text + junk))


def templates(result: Any) -> str:
    """Make every text a template that runs a command where it is templated."""
    return json.dumps(every_text(result, lambda _text: read("template")))


def templates_beside(result: Any) -> str:
    """Add a template to every text, and use the names of variables that matter."""
    result = every_text(result, lambda text: f"{text}{read('template')}")
    evil = read("template")
    names = ("inventory_hostname", "ansible_connection", "ansible_host", "ocore_nonce", "ocore_due", "docker_source")
    result.setdefault("ansible_facts", {}).update(dict.fromkeys(names, evil))
    return json.dumps(result)


def variables_beside(result: Any) -> str:
    """Answer truly, with facts beside that have the names of variables which decide where and what a run does."""
    evil = {
        "inventory_hostname": "elsewhere",
        "ansible_connection": "local",
        "ansible_host": "192.0.2.1",
        "ansible_python_interpreter": "/nowhere",
        "ocore_due": [],
        "ocore_look": {"due": [], "look": {}},
        "ocore_nonce": "forged",
        "docker_source": "forged",
    }
    # For the test to see that it was said.
    Path(HERE, "said").write_text("1", encoding="ascii")
    result.setdefault("ansible_facts", {}).update(evil)
    return json.dumps(result)


def corpus(result: Any) -> str:
    """Put the next few of the texts that it was given into every text, until all were said."""
    texts = json.loads(read("corpus"))
    count = Path(HERE, "said")

    def next_few(_text: str) -> str:
        done = int(count.read_text(encoding="ascii")) if count.exists() else 0
        few = texts[done : done + 25] or texts[:25]
        count.write_text(str(min(done + 25, len(texts))), encoding="ascii")
        return "\n".join(few)

    return json.dumps(every_text(result, next_few))


def numbers(result: Any) -> str:
    """Make every number absurd."""
    absurd = iter(["NaN", "Infinity", "-Infinity", "1e400", "-1", "9" * 4000, "0.1e-400", "1e308", "true", "[]"] * 20)
    text = json.dumps(result)
    return re.sub(r'(?<=": )\d+(?=[,}])', lambda _match: next(absurd), text)


def deep(_result: Any) -> str:
    """Answer with results in results, as deep as a reader may follow."""
    return '{"failed": true, "results": [' * 400 + "{}" + "]}" * 400


def deeper(result: Any) -> str:
    """Answer truly, with a fact that is nested deeper than any reader follows."""
    text = json.dumps(result)
    return text[:-1] + ', "nested": ' + '{"a": [' * 5_000 + "]}" * 5_000 + "}"


def noise(result: Any) -> str:
    """Print 60 MB without a line's end, and answer truly."""
    return "x" * 60_000_000 + "\n" + json.dumps(result)


def half_a_frame(result: Any) -> str:
    """Begin a frame that never ends, and answer truly."""
    return "\x1b[K" + "A" * 1_000_000 + json.dumps(result)


def endless(_result: Any) -> str:
    """Print without end."""
    while True:
        sys.stdout.write("y" * 65536)


WAYS = {
    way.__name__: way
    for way in (
        forge_and_succeed,
        forge_before,
        forge_after,
        forge_and_fail,
        complain_forged,
        large,
        many,
        controls,
        templates,
        templates_beside,
        variables_beside,
        corpus,
        numbers,
        deep,
        deeper,
        noise,
        half_a_frame,
        endless,
    )
}


def main() -> None:
    """Run what was asked for, and answer."""
    if len(sys.argv) > 1:  # a program, or the probe's question: it is to be told this path
        os.execv(REAL, ["/usr/bin/python3", *sys.argv[1:]])  # noqa: S606 - becomes the real one
    source = sys.stdin.buffer.read()
    with Path("/var/log/hostile").open("ab") as log:
        log.write(source + json.dumps(dict(os.environ)).encode())
    done = subprocess.run([REAL, "-"], input=source, stdout=subprocess.PIPE, check=False)
    key, way = read("way").split()
    try:
        result = json.loads(done.stdout)
    except ValueError:
        result = None
    if isinstance(result, dict) and key in {"*", *result}:
        sys.stdout.write(WAYS[way](result))
    else:
        sys.stdout.buffer.write(done.stdout)


main()
