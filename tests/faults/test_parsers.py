"""What a server or a client says, read at random and by the thousand: no reader raises, and none says too much.

Where somebody else can read the same text, the two are compared: the C library and Python for addresses.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import socket
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import strategies as st

import ocore
from ocore.inside.login import parse as parse_probe
from ocore.inside.slim import slim
from ocore.intake import address
from ocore.intake.hostkeys import HostKey
from ocore.intake.scrub import Scrubber
from ocore.intake.text import plain
from ocore.runs.events import MAX_MESSAGE, EventParser
from ocore.runs.login import read_login
from ocore.specs import MAX_BYTES, MAX_CORES, MAX_TEXT, parse_specs
from ocore.ssh.words import meaning, sudo_meaning
from ocore.testing import ReplayTransport
from tests.faults import corpus
from tests.unit import streams
from tests.unit.test_hostile_events import EVENT, JSON, NAMES
from tests.unit.test_specs import TRUE

if TYPE_CHECKING:
    from collections.abc import Callable

# Run by `./dev faults`: the whole of them takes longer than everybody's tests may.
pytestmark = pytest.mark.slow

NUMBER = "the number that no server sees"
SECRET = "correct horse battery staple"
HOST_KEY = HostKey.parse(streams.HOST_KEY)
SCRUB = Scrubber([SECRET])
CORPUS = st.sampled_from(sorted(corpus.strings("/bin/trip").values()))
TEXT = st.text(max_size=80) | CORPUS


def _is_harmless(text: str, most: int) -> bool:
    """Tell whether a text is one line, within bounds, can be encoded, and moves or hides nothing."""
    text.encode()
    hidden = any(
        unicodedata.category(one) in {"Cc", "Cs", "Zl", "Zp"} or one in "\u202a\u202e\u2066\u200b\ufeff" for one in text
    )
    return len(text) <= most and not hidden


# --- events -----------------------------------------------------------------------------------------------------------

_MARKS = st.builds(
    lambda step, number, role: {
        "event": "runner_on_ok",
        "event_data": {
            "playbook_uuid": streams.PLAYBOOK,
            "task": f"Mark {step}",
            "role": role,
            "res": {"msg": f"{number}:{step}"},
        },
    },
    st.sampled_from(NAMES),
    st.sampled_from([NUMBER, "", "guessed"]),
    st.sampled_from([None, None, "docker", ""]),
)
EVENTS = st.lists(EVENT | _MARKS, min_size=1, max_size=6)


def _marks(event: dict[str, Any]) -> str:
    """Return the step that an event marks as done, by the rule as it is written down."""
    data = event.get("event_data")
    if event.get("event") != "runner_on_ok" or not isinstance(data, dict):
        return ""
    if data.get("playbook_uuid") != streams.PLAYBOOK or data.get("role"):
        return ""
    task, result = data.get("task"), data.get("res")
    step = task.removeprefix("Mark ") if isinstance(task, str) and task.startswith("Mark ") else ""
    return step if isinstance(result, dict) and result.get("msg") == f"{NUMBER}:{step}" and step in NAMES else ""


def events(made_up: list[dict[str, Any]]) -> None:
    """Check that any events are let go or read; a step is marked by its own marker only; what is told is harmless."""
    parser = EventParser(NUMBER, NAMES, SCRUB)
    parser.feed(streams.event("playbook_on_start"))
    wanted = set()
    for one in made_up:
        answer = slim(one)
        if answer is None:
            continue
        for seen in parser.feed(json.loads(json.dumps(answer, allow_nan=False))):
            assert seen.step in {"", *NAMES}
            assert _is_harmless(seen.task, MAX_MESSAGE)
        wanted.add(_marks(one))
    assert {name for name, tally in parser.tallies.items() if tally.marked} == wanted - {""}
    for note in (*parser.notes, parser.complaint):
        assert _is_harmless(note, MAX_MESSAGE)
    assert set(parser.reading.steps) <= set(NAMES)


def runs(made_up: list[dict[str, Any]]) -> None:
    """Check that a whole run over any events ends as a value, and does not succeed where a step's marker is missing."""
    answers = [answer for one in made_up if (answer := slim(one)) is not None]
    recording = streams.lines(*streams.begin(), streams.look("docker", "verify"), *answers, streams.end())
    result = ocore.provision(streams.server(), transport=ReplayTransport(recording))
    assert not result.ok
    assert result.error is not None
    assert _is_harmless(result.error.message, 2000)
    json.dumps(dataclasses.asdict(result), default=str, allow_nan=False)


# --- facts ------------------------------------------------------------------------------------------------------------

FACTS = st.dictionaries(st.sampled_from(sorted(TRUE)) | TEXT, JSON | TEXT, max_size=12)


def facts(made_up: dict[str, Any]) -> None:
    """Check that any facts become specs in range; a proper value stays as it is; read again, they are the same."""
    found = dataclasses.asdict(parse_specs(made_up))
    for name, given in (("cpu_cores", MAX_CORES), ("ram_total_bytes", MAX_BYTES), ("own_disk_bytes", MAX_BYTES)):
        value = made_up.get(name)
        proper = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= given
        assert 0 <= found[name] <= given
        assert not proper or found[name] == value
    for name in ("os_name", "os_version", "architecture"):
        assert _is_harmless(found[name], MAX_TEXT)
    assert parse_specs(found | {"kernel": found["kernel_version"]}) == ocore.HardwareSpecs(**found)


# --- hosts ------------------------------------------------------------------------------------------------------------

_LABEL = st.text(
    st.sampled_from("abcxyz0179-_\xfc\u6f22\xdf\u0130\uff11\u2460\u0663\u3002 %/\\@:[]{}$'\"\n\0\ud800."), max_size=8
)
_NUMBERS = st.sampled_from(
    ["0", "00", "1", "7f", "0x7f", "0177", "127", "255", "256", "2130706433", "0xffffffff", "", "1e3", "08"]
)
_ADDRESS = st.ip_addresses().map(str) | st.ip_addresses(v=6).map(lambda one: one.exploded)
HOSTS = (
    st.lists(_NUMBERS, min_size=1, max_size=5).map(".".join)
    | st.lists(_LABEL, min_size=1, max_size=4).map(".".join)
    | _ADDRESS
    | _ADDRESS.map(lambda one: f"[{one}]")
    | st.ip_addresses(v=4).map(lambda one: f"::ffff:{one}")
    | st.ip_addresses(v=4).map(lambda one: str(int(one)))
    | st.ip_addresses(v=6).map(lambda one: f"{one}%eth0")
    | TEXT
)


def hosts(text: str) -> None:
    """Check that a host is an address to everybody or to nobody; its normal form is ASCII, and stays as it is."""
    try:
        normal = address.check_host(text)
    except ocore.ConfigError as refused:
        assert refused.field == "host"  # noqa: PT017 - both outcomes are good ones
        assert not _is_address(text), "an address is refused"
        return
    assert address.check_host(normal) == normal
    assert normal.isascii()
    assert not set(normal) & set("%@/\\[] \n\0")
    assert normal[0] != "-"
    assert len(normal) <= address.MAX_NAME
    bare = text[1:-1] if text.startswith("[") else text
    if _is_address(bare):
        assert ipaddress.ip_address(normal) == ipaddress.ip_address(bare)
    # To the C library, which reads more kinds of numbers than we do.
    assert _numeric(normal) == ({str(ipaddress.ip_address(normal))} if _is_address(normal) else set())


def _is_address(text: str) -> bool:
    try:
        return getattr(ipaddress.ip_address(text), "scope_id", None) is None
    except ValueError:
        return False


def _numeric(host: str) -> set[str]:
    """Return which addresses the C library reads in a text, without asking anybody."""
    try:
        found = socket.getaddrinfo(host, 22, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return set()
    return {str(ipaddress.ip_address(entry[4][0])) for entry in found}


# --- texts ------------------------------------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    ["\x1b", "\x1b[", "\x1b]", "\x1b]8;;", "\x1bP", "\x9b", "\x07", "\x1b\\", "31m", "2J", "\x1b(B", ";", "A", " "]
)
TEXTS = st.tuples(st.lists(_PIECES | TEXT, max_size=12).map("".join), st.integers(1, 400))


def texts(given: tuple[str, int]) -> None:
    """Check that one harmless line comes out, within its bounds, the same again; plain words stay as they are."""
    text, most = given
    found = plain(text, most)
    assert _is_harmless(found, most)
    assert "\x1b" not in found
    assert plain(found, most) == found
    if text.isascii() and text.isprintable() and len(text) <= most:
        assert found == text.strip()
    assert set(found) <= set(text) | set(" \u2026")
    for bound in (most, len(text) + len(SECRET) + 40):
        scrubbed = SCRUB.plain(text + SECRET, bound)
        assert SECRET not in scrubbed
        assert _is_harmless(scrubbed, max(bound, len(text) + 40))


# --- logins -----------------------------------------------------------------------------------------------------------

_WORD = st.sampled_from(
    [
        "ocore",
        "uid",
        "become",
        "python",
        "end",
        "refused",
        "given",
        "drained",
        "undrained",
        "root",
        "free",
        "password",
        "missing",
    ]
)
_LINE = st.lists(_WORD | TEXT, max_size=5).map(" ".join)
_PROBE = st.lists(_LINE, max_size=10).map("\n".join)
PROBES = st.tuples(
    _PROBE.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=200),
    st.integers(-1, 300) | JSON,
    TEXT | st.just(f"Permission denied {SECRET}") | JSON,
)


def logins(given: tuple[bytes, Any, Any]) -> None:
    """Check that any answer to a login means that it succeeded, or why not: in harmless words, without a secret."""
    printed, code, said = given
    answers = parse_probe(printed)
    assert all(len(value) <= 500 for value in answers.values())
    one = ocore.Server("192.0.2.7", ocore.Credentials(password=SECRET), user="ops")
    for found in (
        read_login({"code": code, "answers": answers, "stderr": said}, one, HOST_KEY, SCRUB),
        read_login({"code": code}, one, HOST_KEY, SCRUB),
    ):
        words = [found.connected, found.privileges, found.failure.message if found.failure else ""]
        assert all(SECRET not in text for text in words)
        assert found.failure is not None or {"uid", "end"} <= set(answers)
        assert found.interpreter == "" or (found.interpreter.startswith("/") and found.interpreter.isprintable())
        assert found.failure is None or _is_harmless(found.failure.message, 2000)
        assert _is_harmless(found.privileges, 1000)
    text = printed.decode("utf-8", "replace")
    assert meaning(text) in ocore.ErrorCode
    assert sudo_meaning(text) in ocore.ErrorCode


# --- all of them ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """A reader: what it is given, what holds of it, and how many examples are tried."""

    given: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    examples: int


READERS = {
    "events": Reader(EVENTS, events, 5_000),
    "runs": Reader(EVENTS, runs, 1_000),
    "facts": Reader(FACTS, facts, 10_000),
    "hosts": Reader(HOSTS, hosts, 50_000),
    "texts": Reader(TEXTS, texts, 30_000),
    "logins": Reader(PROBES, logins, 10_000),
}


@pytest.mark.promise("A6", "F22", "A1")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", READERS)
def test_a_reader_reads_anything(name: str, record_property: Callable[..., None]) -> None:
    """Each reader, with examples by the thousand; the count of those that were tried is recorded."""
    reader = READERS[name]
    tried = 0

    @hypothesis.settings(
        max_examples=reader.examples, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(reader.given)
    def read(given: Any) -> None:
        nonlocal tried
        tried += 1
        reader.check(given)

    read()
    record_property("runs", tried)
    assert tried >= reader.examples


def test_there_are_a_hundred_thousand_examples() -> None:
    """All readers together: with less, what is rare would not be met."""
    assert sum(reader.examples for reader in READERS.values()) >= 100_000
