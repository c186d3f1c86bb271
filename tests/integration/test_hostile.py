"""Hosts that lie: whatever a host sends, it changes nothing but its own failed step, and nothing of it runs here."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
import logging
import re
import shlex
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ocore
from ocore.testing import RecordingTransport
from ocore.transport import SshTransport
from tests.e2e.served import QUIET_SSHD
from tests.integration.apart import Apart
from tests.integration.lying import lie, said, say, teach, tell_the_truth
from tests.integration.support import OPTIONS, Watch, describe, key_of, options, server, statuses
from tests.integration.tripwire import Tripwire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocore.transport import Process
    from tests.hosts import Host

# Figures: shown with `-o log_cli=true -o log_cli_level=info`, and where a test fails.
log = logging.getLogger(__name__)
GIBIBYTE = 2**30
SLOW = pytest.mark.slow
VALIDATION = ("connect", "privileges", "detect", "preflight")


@dataclasses.dataclass
class Truth:
    """What an honest host says."""

    plan: ocore.Plan
    specs: ocore.HardwareSpecs


@pytest.fixture(scope="module")
def honest(start: Callable[..., Host]) -> Host:
    """Return a host as any other."""
    return start("root-key", docker=True)


@pytest.fixture(scope="module")
def truth(honest: Host) -> Truth:
    """Return what the host says before it becomes hostile."""
    return Truth(ocore.plan(server(honest), OPTIONS), ocore.gather(server(honest), OPTIONS))


@pytest.fixture(scope="module")
def host(honest: Host, truth: Truth) -> Host:  # noqa: ARG001 - the truth is asked for first
    """Return the host with a Python that is ours to tell how to lie."""
    teach(honest)
    # It does not punish who connects often, as these tests do.
    honest.write("/etc/ssh/sshd_config.d/ocore-test-quiet.conf", QUIET_SSHD)
    honest.exec("systemctl restart ssh")
    honest.wait_until_booted()
    return honest


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _assert_harmless(result: ocore.RunResult, watch: Watch) -> None:
    """Check that all which left the library can be shown and stored."""
    told = [dataclasses.asdict(one) for one in (result, *watch.events, *watch.specs, *watch.finished)]
    for text in _texts(told):
        assert len(text) < 1000
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text), repr(text)
    assert "\\ud800" not in json.dumps(told, default=str)


# --- forged events ----------------------------------------------------------------------------------------------------


def _run(host: Host, call: Callable[..., Any], **arguments: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Make a run, and return its result with the events that reached the library."""
    record = io.StringIO()
    result = call(server(host), OPTIONS, transport=RecordingTransport(record), **arguments)
    answers = [json.loads(line) for line in record.getvalue().splitlines()]
    return result, [answer for answer in answers if answer.get("type") == "event"]


@pytest.mark.promise("F22")
@pytest.mark.parametrize("way", ["forge_and_succeed", "forge_before", "complain_forged"])
def test_forged_events_change_nothing(host: Host, truth: Truth, way: str) -> None:
    """A host that prints events of its own making beside true answers is planned for as if it did not."""
    lie(host, way, "*")
    plan, events = _run(host, ocore.plan)
    assert plan == truth.plan
    if way == "forge_and_succeed":  # the one way in which they come as far as the library
        assert {"playbook_on_start", "runner_on_ok", "runner_on_failed"} <= _forged(events)
    specs, events = _run(host, ocore.gather)
    assert dataclasses.replace(specs, disk_free_bytes=0) == dataclasses.replace(truth.specs, disk_free_bytes=0)
    assert len({event["playbook_uuid"] for event in events} - {"forged", None}) == 1


def _forged(events: list[dict[str, Any]]) -> set[str]:
    return {event["event"] for event in events if event["playbook_uuid"] == "forged"}


@pytest.mark.promise("A6")
@pytest.mark.parametrize(
    ("about", "failed"), [("ansible_facts", "detect"), ("findings", "preflight")], ids=["detect", "preflight"]
)
def test_a_host_that_forges_success_fails_its_own_step(host: Host, about: str, failed: str) -> None:
    """A step that failed stays failed whatever the reason says; later ones are skipped, and nothing was changed."""
    lie(host, "forge_and_fail", about)
    watch = Watch()
    result, _ = _run(host, ocore.provision, recorder=watch)
    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.STEP_FAILED
    so = statuses(result)
    assert so.pop(failed) == "failed"
    before = VALIDATION[: VALIDATION.index(failed)]
    assert {name for name, status in so.items() if status == "success"} == set(before)
    assert {status for name, status in so.items() if name not in before} == {"skipped"}
    assert result.specs is None or result.specs.cpu_cores < 4000
    assert host.exec("test -e /etc/ocore", check=False).returncode == 1
    _assert_harmless(result, watch)


@pytest.mark.promise("A6")
def test_a_host_that_forges_its_state_fails_the_run(host: Host) -> None:
    """Where the look itself fails with forged events for a reason, no step runs or counts as done."""
    lie(host, "forge_and_fail", "look")
    result, _ = _run(host, ocore.provision)
    assert not result.ok
    assert {status for name, status in statuses(result).items() if name not in VALIDATION} <= {"failed", "skipped"}
    assert host.exec("test -e /etc/ocore", check=False).returncode == 1


class Overhearing(SshTransport):
    """Keeps the orders that a run gives."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[dict[str, Any]] = []

    def start(self, server: ocore.Server) -> Process:
        """Start the process, and listen in."""
        process = super().start(server)
        give = process.order

        def order(order: dict[str, Any]) -> None:
            self.orders.append(order)
            give(order)

        process.order = order  # type: ignore[method-assign]
        return process


@pytest.mark.promise("A6")
def test_no_host_ever_sees_the_number_that_marks_a_steps_end(host: Host) -> None:
    """Neither the run's nonce nor the playbook's id is in anything that the host's Python is sent or started with."""
    tell_the_truth(host)
    overhearing = Overhearing()
    record = io.StringIO()
    ocore.plan(server(host), OPTIONS, transport=RecordingTransport(record, overhearing))
    variables = next(order["variables"] for order in overhearing.orders if order["op"] == "play")
    ids = set(re.findall(r'"playbook_uuid": "([^"]+)"', record.getvalue()))
    sent = _unpacked(host.read("/var/log/hostile"))
    assert variables["ocore_run"] in sent, "the host's record does not hold what was sent"
    assert variables["ocore_nonce"] not in sent
    assert len(ids) == 1
    assert not any(one in sent for one in ids)


def _unpacked(text: str) -> str:
    """Return a text together with what is packed in it."""
    found = [text]
    for packed in re.findall(r"[A-Za-z0-9+/=]{200,}", text):
        with contextlib.suppress(zlib.error, ValueError):
            found.append(zlib.decompress(base64.b64decode(packed)).decode(errors="replace"))
    return "\n".join(found)


@pytest.mark.promise("A6")
def test_a_forged_name_reaches_no_file(start_reduced: Apart, host: Host) -> None:
    """ansible-runner removes a file that a forged event names; without namespaces that would be one of this machine."""
    victim = start_reduced.root / "of-mine"
    (file := Path(f"{victim}-partial.json")).write_text("{}", encoding="utf-8")
    host.write("/etc/hostile/steal", f"{victim}\n")
    lie(host, "forge_and_succeed")
    login = ("--key", str(host.key_file), "--allow-loopback", "--minimum-disk-gb", "1")
    told, _ = start_reduced.ocore("validate", host.target, *login, "--json").communicate()
    assert b'"isolation":"reduced"' in told
    assert file.exists()


@pytest.fixture
def start_reduced() -> Iterator[Apart]:
    """Return a copy of oCore that finds no bubblewrap."""
    with Apart(isolation="reduced") as copy:
        yield copy


# --- absurd answers ---------------------------------------------------------------------------------------------------


# What an answer that can be read all the same comes to; any other one fails its own step.
ABSURD: dict[str, dict[str, ocore.ErrorCode | None]] = {
    "ansible_facts": {"controls": ocore.ErrorCode.OS_UNSUPPORTED, "numbers": ocore.ErrorCode.DISK_LOW},
    "look": {"controls": None, "numbers": None},
}


def _code(result: ocore.RunResult) -> ocore.ErrorCode | None:
    return result.error.code if result.error else None


@pytest.mark.promise("F22")
@pytest.mark.parametrize("way", ["controls", "numbers", "deep", "deeper", "half_a_frame"])
@pytest.mark.parametrize("about", ["ansible_facts", pytest.param("look", marks=SLOW)])
def test_an_absurd_answer_harms_nobody_else(host: Host, way: str, about: str) -> None:
    """Control characters, absurd numbers, endless nesting, half a frame: a clean result, or a clean failure."""
    lie(host, way, about)
    watch = Watch()
    result = ocore.provision(server(host), options(proxy="none"), recorder=watch, check=True)
    assert _code(result) is ABSURD[about].get(way, ocore.ErrorCode.STEP_FAILED), describe(result)
    _assert_harmless(result, watch)
    for specs in (*watch.specs, *([result.specs] if result.specs else [])):
        assert 0 <= specs.cpu_cores <= 4096
        assert all(0 <= size < 2**53 for size in (specs.ram_total_bytes, specs.disk_total_bytes, specs.own_disk_bytes))


def test_a_login_that_prints_junk_is_read_all_the_same(host: Host, truth: Truth) -> None:
    """A greeting, a banner and a shell that talks are passed over, also where they look like answers of others."""
    tell_the_truth(host)
    junk = base64.b64encode(b"x" * 20_000).decode()
    host.write("/etc/ssh/banner", f"Welcome!\n\x1b[31m{junk}\n")
    host.write("/etc/ssh/sshd_config.d/banner.conf", "Banner /etc/ssh/banner\n")
    shell = host.read("/root/.bashrc")
    host.write(
        "/root/.bashrc",
        "printf 'Hi\\r\\n\\033[2J\\001{\"changed\": true}\\nocore\\nfoo uid 7\\n'; echo oops >&2\n" + shell,
    )
    host.exec("systemctl reload ssh")
    # sshd listens anew; until it does, the engine's own proxy takes connections and closes them.
    host.wait_until_booted()
    try:
        assert ocore.plan(server(host), OPTIONS) == truth.plan
    finally:
        host.write("/root/.bashrc", shell)
        host.exec("rm /etc/ssh/sshd_config.d/banner.conf; systemctl reload ssh")
        host.wait_until_booted()


@pytest.mark.promise("F22")
def test_a_login_that_never_stops_talking_fails(host: Host) -> None:
    """A shell that prints without end is cut off, and the run fails at once."""
    shell = host.read("/root/.bashrc")
    host.write("/root/.bashrc", "yes ocore uid 0\n")
    try:
        began = time.monotonic()
        result = ocore.validate(server(host), OPTIONS)
        assert result.error is not None
        assert statuses(result)["connect"] == "failed" or statuses(result)["privileges"] == "failed"
        assert time.monotonic() - began < 20
    finally:
        host.write("/root/.bashrc", shell)
        host.exec("pkill -x yes", check=False)


# --- templates --------------------------------------------------------------------------------------------------------


@pytest.mark.promise("A1")
def test_the_canary_notices_a_template_that_is_templated() -> None:
    """The template that the tests below rely on does connect where Ansible trusts it."""
    with Tripwire() as wire:
        assert not wire.traces()
        ansible = str(Path(sys.executable).parent / "ansible")
        arguments = ["localhost", "--connection", "local", "-m", "debug", "-a", json.dumps({"msg": wire.template})]
        subprocess.run([ansible, *arguments], check=True, capture_output=True)
        assert len(wire.traces()) == 2


# What a template leads to where it stands for what must be known; elsewhere it is only shown.
TEMPLATES: dict[tuple[str, str], ocore.ErrorCode] = {
    ("ansible_facts", "templates"): ocore.ErrorCode.OS_UNSUPPORTED,
    ("ansible_facts", "templates_beside"): ocore.ErrorCode.OS_UNSUPPORTED,
    ("*", "templates"): ocore.ErrorCode.STEP_FAILED,
    ("*", "templates_beside"): ocore.ErrorCode.OS_UNSUPPORTED,
}


@pytest.mark.promise("A1")
@pytest.mark.parametrize("way", ["templates", "templates_beside"])
@pytest.mark.parametrize(
    "about", ["ansible_facts", "*", *(pytest.param(one, marks=SLOW) for one in ("findings", "look"))]
)
def test_a_template_in_an_answer_is_text(host: Host, about: str, way: str) -> None:
    """A template in every text of an answer, and variables of ours as the names of facts, run nothing here."""
    with Tripwire() as wire:
        host.write("/etc/hostile/template", wire.template)
        lie(host, way, about)
        watch = Watch()
        result = ocore.provision(server(host), options(proxy="none"), recorder=watch, check=True)
        assert _code(result) is TEMPLATES.get((about, way)), describe(result)
        assert not wire.traces()
    if about == "ansible_facts":
        assert any("lookup" in specs.os_name for specs in watch.specs), "the template did not come this far"


@pytest.mark.promise("A1", "F23")
@pytest.mark.parametrize("about", ["ansible_facts", pytest.param("*", marks=SLOW)])
def test_facts_that_name_our_variables_have_no_effect(host: Host, truth: Truth, about: str) -> None:
    """With the truth beside them, a plan is what it is without them, and so is what a run does, and how it ends."""
    tell_the_truth(host)
    honest = _outcome(host)
    say(host, [])
    lie(host, "variables_beside", about)
    assert ocore.plan(server(host), OPTIONS) == truth.plan
    assert _outcome(host) == honest
    assert said(host), "the host has not lied"


def _outcome(host: Host) -> tuple[object, ...]:
    """Return what a run would do to a host, and how it ends."""
    result = ocore.provision(server(host), options(proxy="none"), check=True)
    return statuses(result), result.error, result.reading


@pytest.mark.promise("A1")
@pytest.mark.slow
def test_a_template_in_the_hosts_own_files_is_text(host: Host) -> None:
    """The same for what true answers are read from, through all of provisioning."""
    tell_the_truth(host)
    with Tripwire() as wire:
        template = wire.template
        release = f"ID=debian\nVERSION_ID=13\nNAME={shlex.quote(template)}\nVERSION_CODENAME={shlex.quote(template)}\n"
        host.write("/etc/os-release", release)
        host.write("/etc/hostname", template)
        host.write(f"/root/{template.replace('/', '|')}", template)
        host.exec("cat > /proc/sys/kernel/hostname", stdin=template[:60])
        watch = Watch()
        result = ocore.provision(server(host), options(proxy="none"), recorder=watch)
        assert not wire.traces()
    assert result.ok, describe(result)
    assert "lookup" in watch.specs[-1].os_name


# --- too much ---------------------------------------------------------------------------------------------------------


def _order(host: Host, seconds: float) -> dict[str, Any]:
    return {
        "server": {"host": host.address, "port": host.ssh_port, "user": host.user},
        "credentials": {"private_key": key_of(host)},
        "options": {"allow_loopback": True, "minimum_disk_gb": 1, "proxy": "none"},
        "step_timeouts": {"detect": seconds},
    }


def _peak(apart: Apart, order: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Make a run, and return the most memory that it and all which it started took, with the run's last words."""
    program = apart.driver(order)
    most = 0
    while program.poll() is None:
        most = max(most, sum(map(_resident, apart.alive())))
        time.sleep(0.05)
    assert program.stdout is not None
    last: dict[str, Any] = json.loads(program.stdout.read().splitlines()[-1])
    return most, last


def _resident(pid: int) -> int:
    """Return what a process holds in memory, with the files in memory that only it can see."""
    total = 0
    with contextlib.suppress(OSError, IndexError):
        total = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096
        if b"ocore.inside\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
            files = Path(f"/proc/{pid}/root/run/ocore").rglob("*")
            total += sum(file.stat().st_size for file in files if file.is_file())
    return total


@pytest.mark.promise("F22")
@pytest.mark.parametrize(
    ("way", "code"),
    [
        pytest.param("large", "step_failed", id="a fact of 60 MB"),
        pytest.param("many", "step_failed", id="a million facts", marks=SLOW),
        pytest.param("noise", None, id="60 MB without a line's end", marks=SLOW),
        pytest.param("endless", "step_timeout", id="output without end", marks=SLOW),
    ],
)
def test_memory_stays_bounded(host: Host, way: str, code: str | None) -> None:
    """Whatever a host sends, all processes of a run together stay below 1 GiB, and the step fails by itself."""
    lie(host, way)
    with Apart() as apart:
        most, last = _peak(apart, _order(host, 30 if way == "endless" else 90))
        assert not apart.left()
    log.info("%s: at most %d MiB", way, most // 2**20)
    assert most > 150 * 2**20, "the measure does not see the run"
    assert most < GIBIBYTE
    if code:
        assert last["code"] == code
