"""Schemathesis tries the real app against its own document: operation by operation, and as sequences of calls.

No worker runs, so no server is ever contacted; the hosts are of the ranges that are for examples (RFC 5737).
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
import structlog
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from tests.unit.keymaker import private_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis.engine.recorder import ScenarioRecorder

    from tests.service.support import Service

KEYS = [private_key(kind) for kind in ("ed25519", "ecdsa", "rsa")]
NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
_NUMBERS = itertools.count()
FORMATS = {
    "ssh-host": st.builds("{}.{}".format, st.sampled_from(NETWORKS), st.integers(min_value=1, max_value=254)),
    "ssh-private-key": st.sampled_from(KEYS),
    "entity-tags": st.sampled_from(["*", '"a"', 'W/"a", "b"']),
    "webhook-url": st.builds("https://hooks.example.org/{}".format, st.integers(min_value=0)),
    "ssh-password": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1),
}
# Checks that are not made, or not made in full, each with the reason.
CHECKS: dict[str, Any] = {
    # API.md: DELETE is answered before the server is gone, and until then it can be read.
    "use_after_free": {"enabled": False},
    # Some rules are in no schema, so what fits the schema may be a 422: names have no control characters, a method
    # needs its own credential, `force` and `steps` go with one kind of run. 304, 404, 409 and 412: what there is, is
    # the rule.
    "positive_data_acceptance": {"expected-statuses": ["2xx", "304", "404", "409", "412", "422"]},
}

# A heartbeat is taken from an agent, which the one who tries is not: whatever is sent, it is refused.
OPERATIONS: list[dict[str, Any]] = [
    {
        "include-path": "/api/agent/heartbeat",
        "checks": {"positive_data_acceptance": {"expected-statuses": ["401"]}},
    }
]


@dataclass
class Tally:
    """What a run of schemathesis did and found."""

    cases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def take(self, event: events.EngineEvent) -> None:
        """Take an event of the engine."""
        if isinstance(event, events.ScenarioFinished):
            self._take_scenario(event.phase.value, event.recorder)
        elif isinstance(event, events.NonFatalError):
            self.findings.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            self.findings.append(repr(event.exception))

    def __str__(self) -> str:
        """Return how many cases there were, by kind and by answer."""
        answers = dict(sorted(self.statuses.items()))
        return f"schemathesis: {self.cases.total()} cases {dict(self.cases)}, answers {answers}"

    def _take_scenario(self, phase: str, recorder: ScenarioRecorder) -> None:
        self.cases[phase] += len(recorder.interactions)
        for name, call in recorder.interactions.items():
            status = call.response.status_code if call.response else 0
            self.statuses[status] += 1
            if not 200 <= status < 500:
                self.findings.append(f"{recorder.cases[name].value.as_curl_command()}: {status}")
        for name, checks in recorder.checks.items():
            for one in checks:
                if one.failure_info is not None:
                    case = recorder.cases[name].value
                    told = f"{phase} {case.path_parameters} {case.as_curl_command()}"
                    self.findings.append(f"{one.name}: {told}: {one.failure_info.failure}")


@pytest.fixture
def storage() -> str:
    """Return the one storage that this needs: requests are checked before they reach it."""
    return "sqlite"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep a line for every request out of the report."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


@pytest.fixture(autouse=True)
def _formats() -> Iterator[None]:
    for name, strategy in FORMATS.items():
        schemathesis.openapi.format(name, strategy)
    schemathesis.hook("before_call")(_named)
    yield
    schemathesis.hooks.unregister(_named)


def _possible(context: object, body: Any) -> Any:  # noqa: ARG001 - schemathesis calls it by this name
    """Give a body that creates a server what no schema says, so that many are made: other faults in it stay.

    That is a name and an address that no other server has, and the credential that its method needs.
    """
    if not isinstance(body, dict) or not {"name", "host"} <= body.keys():
        return body
    number = next(_NUMBERS)
    more: dict[str, Any] = {}
    if isinstance(body["name"], str) and 0 < len(body["name"]) < 90:
        more["name"] = f"{number} {body['name']}"
    if str(body["host"]).startswith(NETWORKS):
        more["host"] = f"{NETWORKS[number % 3]}.{number // 3 % 254 + 1}"
    method = body.get("authMethod", "key")
    if method == "key" and body.get("sshPrivateKey") is None:
        more["sshPrivateKey"] = KEYS[0]
    if method == "password" and body.get("sshPrivateKey") in KEYS:
        more["sshPrivateKey"] = None
    if method == "password" and body.get("sshPassword") is None:
        more["sshPassword"] = "p"
    return body | more


def _named(context: object, case: Any, kwargs: object) -> None:  # noqa: ARG001 - called by these names
    """Give a path a name where it has an empty one: that is a field which may be empty, followed as if it were an id.

    Without a name it is another path.
    """
    case.path_parameters = {name: value or "none" for name, value in (case.path_parameters or {}).items()}


def tried(service: Service, examples: int, *, coverage: bool) -> Tally:
    """Return what came of a try: `examples` for each operation and as many sequences; with every border case."""
    app: Any = service.client.app
    # No run goes on, so the stream of one would wait for ever.
    app.state.stopping.set()
    config = SchemathesisConfig.from_dict(
        {
            "seed": 20250101,
            "headers": {"Authorization": f"Bearer {service.token()}"},
            "generation": {"max-examples": examples, "database": "none"},
            "checks": CHECKS,
            "operations": OPERATIONS,
            "phases": {"coverage": {"enabled": coverage}, "stateful": {"generation": {"max-examples": examples}}},
        }
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    schema.hooks.hook("map_body")(_possible)
    tally = Tally()
    for event in from_schema(schema).execute():
        tally.take(event)
    return tally


def _show(tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the figures past pytest's capture: they are a result, also where the test passes."""
    with capsys.disabled():
        print(f"\n{tally}")  # noqa: T201 - for this it is there


def test_the_app_keeps_its_document(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """The short form: some of everything."""
    tally = tried(service, 5, coverage=False)
    _show(tally, capsys)
    assert not tally.findings, "\n\n".join(tally.findings)
    assert tally.cases["fuzzing"] > 50
    assert tally.cases["stateful"] > 20
    assert tally.statuses[201]


@pytest.mark.slow
def test_the_app_keeps_its_document_at_length(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """The long form: border cases of every field, at least 2,000 calls, and sequences of them."""
    tally = tried(service, 120, coverage=True)
    _show(tally, capsys)
    assert not tally.findings, "\n\n".join(tally.findings)
    assert tally.cases.total() >= 2000
    assert tally.cases["stateful"] > 100
    assert tally.statuses[201] > 20
