"""The corpus in every field that takes text: it is refused by the field's name, or it stays as it is.

The API's fields are those of its own document, so that a new one is among them by itself; the library's are those of
its values. That what is taken stays text in real runs is shown by test_injection.py.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from sqlmodel import select

import ocore
from api.data.tables import Server
from api.service import agents
from api.service.mapping import library_server
from api.settings import Settings
from ocore.intake.scrub import Scrubber
from ocore.intake.text import plain
from ocore.testing import ReplayTransport
from tests.faults import corpus
from tests.faults.sending import HEARTBEAT, Asking, places
from tests.service.problems import problem
from tests.service.support import UNLIMITED, Service, opened
from tests.service.test_agents import URL
from tests.unit import streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx2

# Run by `./dev faults`: the whole of them takes longer than everybody's tests may.
pytestmark = pytest.mark.slow

RUN = "/usr/local/bin/trip"
EVERY = corpus.strings(RUN)
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "site"
MOST = 64 * 1024


def tried(make: Callable[[], Any]) -> tuple[Any, ocore.ConfigError | None]:
    """Return what is made, or why it is refused."""
    try:
        return make(), None
    except ocore.ConfigError as refused:
        return None, refused


# --- the library ------------------------------------------------------------------------------------------------------

CREDENTIALS = ocore.Credentials(password="not a secret")


def _text_fields(cls: type[Any]) -> list[str]:
    """Return the fields of a value that may hold text."""
    return [one.name for one in dataclasses.fields(cls) if "str" in str(one.type) or "Literal" in str(one.type)]


MAKERS: dict[type[Any], Callable[..., Any]] = {
    ocore.Server: lambda **given: ocore.Server(**{"host": "192.0.2.7", "credentials": CREDENTIALS, **given}),
    ocore.Credentials: lambda **given: ocore.Credentials(
        **{"password": "x", **given} if "sudo_password" in given else given
    ),
    ocore.ProvisionOptions: ocore.ProvisionOptions,
}
LIBRARY = [(cls, name) for cls in MAKERS for name in _text_fields(cls)]
# What a host's name is brought to: lower case, punycode, addresses in one spelling.
_NORMAL = {"host": ocore.check_host, "expected_fingerprint": ocore.check_fingerprint}


@pytest.mark.promise("A1")
@pytest.mark.parametrize(("cls", "name"), LIBRARY, ids=[f"{cls.__name__}.{name}" for cls, name in LIBRARY])
def test_a_field_of_the_library_refuses_or_keeps(
    cls: type[Any], name: str, record_property: Callable[..., None]
) -> None:
    """Each string: ConfigError by this field's name, or a value that has it literally."""
    for what, text in EVERY.items():
        made, refused = tried(lambda text=text: MAKERS[cls](**{name: text}))
        if refused is not None:
            assert refused.field == name, what
            assert RUN not in str(refused), what
            continue
        kept = getattr(made, name)
        if name == "id" and text == "":
            continue  # stands for none
        assert kept == _NORMAL.get(name, str)(text), what
    record_property("runs", len(EVERY))


def test_the_library_has_the_fields_that_are_meant() -> None:
    """A field that takes text is found by itself."""
    found = {name for _, name in LIBRARY}
    assert {"host", "user", "id", "agent_token", "expected_fingerprint"} <= found
    assert {"private_key", "password", "sudo_password", "agent_socket"} <= found
    assert {"proxy", "caddy_image", "agent_url", "apt_proxy", "security_ports", "docker_source"} <= found


@pytest.mark.promise("A1")
@pytest.mark.parametrize(
    "what",
    ["port", "host_key", "credentials", "site", "minimum_memory_mb", "security", "allow_loopback", "deny_private"],
)
def test_a_field_that_takes_no_text_refuses_it(what: str) -> None:
    """Also where a text looks like what is wanted."""
    cls = ocore.Server if what in {"port", "host_key", "credentials"} else ocore.ProvisionOptions
    for text in (*EVERY.values(), "22", "true"):
        with pytest.raises(ocore.ConfigError) as refused:
            MAKERS[cls](**{what: text})
        assert refused.value.field == what


@pytest.mark.promise("A1")
def test_host_keys_are_refused_or_kept() -> None:
    """As a type, as a key, and as a whole line."""
    for what, text in EVERY.items():
        for given in ((text, "AAAA"), ("ssh-ed25519", text)):
            _, refused = tried(lambda given=given: ocore.HostKey(*given))
            assert refused is not None, what
            assert refused.field == "host_key", what
        made, refused = tried(lambda text=text: ocore.HostKey.parse(text))
        assert str(made) == text if refused is None else refused.field == "host_key", what


# --- a site's list ----------------------------------------------------------------------------------------------------

SITE_KEYS = ("name", "does", "needs", "after", "timeout")


@pytest.mark.promise("A1")
@pytest.mark.parametrize("key", [*SITE_KEYS, "a key", "the file"])
def test_a_sites_list_refuses_or_keeps(key: str, tmp_path: Path, record_property: Callable[..., None]) -> None:
    """Each string in each place of a step: the site is refused, or has it literally."""
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "site"))
    file = folder / "site.yml"
    for what, text in EVERY.items():
        step: dict[str, Any] = {"name": "motd", "does": "x"}
        step[text if key == "a key" else key] = [text] if key == "needs" else text
        spelled = text if key == "the file" else yaml.safe_dump({"steps": [step]})
        file.write_text(spelled, encoding="utf-8", errors="surrogatepass")
        site, refused = tried(lambda: ocore.Site.load(folder))
        if refused is not None:
            assert refused.field == "site", what
            continue
        assert key == "does" or text in {"does", "name", "needs", "after", "timeout"}, what
        assert site.steps[0].does == text, what
    record_property("runs", len(EVERY))


# --- what a host reports ----------------------------------------------------------------------------------------------


@pytest.mark.promise("A6")
def test_what_a_host_says_is_shown_as_text(record_property: Callable[..., None]) -> None:
    """Each string as every fact, message, note and reason: what is left of it is a part of it, in one line."""
    for what, text in EVERY.items():
        facts = streams.FACTS | dict.fromkeys(
            ("os_name", "os_version", "kernel", "architecture", "docker_version"), text
        )
        facts |= {text: text, "cpu_cores": text}
        said = streams.look("docker")
        said["result"] |= {"notes": [text], "findings": [], "warnings": [text]}
        said["result"]["look"]["docker"]["reasons"] = [text]
        failed = streams.event("runner_on_failed", text, "docker", msg=text, stdout=text, stderr=text)
        answers = [
            streams.login(),
            streams.event("playbook_on_start"),
            *streams.task("detect", text, facts=facts, msg=text),
            streams.mark("detect"),
            *streams.task("preflight", text),
            streams.mark("preflight"),
            said,
            failed,
            streams.end(2),
        ]
        result = ocore.provision(streams.server(), transport=ReplayTransport(streams.lines(*answers)))
        assert result.specs is not None, what
        shown = plain(text, 200)
        assert (result.specs.os_name, result.specs.architecture, result.specs.cpu_cores) == (shown, shown, 0), what
        assert result.specs.docker_version == (shown or None), what
        assert result.reading[3].reasons == (Scrubber([]).plain(text, 600),), what
        assert result.error is not None, what
        for one in (result.error.message, *result.notes, *(step.message for step in result.steps)):
            assert one.isprintable() or plain(one, 10_000) == one, what
    record_property("runs", len(EVERY))


# --- the API ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return one service for all of this."""
    with opened(
        Settings(
            home=tmp_path_factory.mktemp("home"),
            monitor=False,
            quota_servers=0,
            quota_runs=0,
            agent_url=URL,
            **UNLIMITED,
        )
    ) as found:
        # No worker carries a run on, so the stream of one would wait for ever.
        found.client.app.state.stopping.set()  # type: ignore[attr-defined]
        yield found


# The statuses by which a place refuses, beside a 422 with its name.
REFUSES: dict[str, set[int]] = {
    "path": {404, 405, 307},
    "query": set(),
    "body": set(),
    "key": set(),
    "authorization": {401, 200, 204},
    "idempotency-key": {400},
    "if-match": {412},
    "if-none-match": set(),
    "last-event-id": set(),
    "x-request-id": set(),
}
# What the state of things, and no field, may be answered with.
BUSY = {409}


@pytest.mark.promise("A1", "A14")
@pytest.mark.timeout(1800)
def test_a_field_of_the_api_refuses_or_keeps(shared: Service, record_property: Callable[..., None]) -> None:
    """Each string in each place of each operation: it is named and not repeated, or comes back as it is."""
    tried = 0
    for operation, found in places(shared).items():
        for part, name, schema in found:
            asking = Asking(shared, operation, part, name, schema)
            for what, text in EVERY.items():
                _check(asking, text, asking.ask(text), f"{operation} {part} {name}: {what}")
                tried += 1
                # A heartbeat that comes at once after another one is refused.
                if asking.call.method == "DELETE" or operation == HEARTBEAT:
                    asking = Asking(shared, operation, part, name, schema)
    record_property("runs", tried)


def _check(asking: Asking, text: str, answer: httpx2.Response, what: str) -> None:
    refuses = REFUSES.get(asking.name, set()) | REFUSES.get(asking.part, set())
    body = answer.text
    assert answer.status_code < 500, f"{what}: {body}"
    if answer.status_code == 422 and answer.json()["code"] == "idempotency_conflict":
        assert asking.name == "idempotency-key", what  # it was another operation's
        return
    if answer.status_code == 422:
        # A key that is not known is named as it is, words of a database among them.
        told = answer.json() if asking.part == "key" else problem(answer, 422)
        named = {one["pointer"] for one in told["errors"]}
        assert named, what
        if asking.part == "header":
            assert asking.name in told["detail"].lower(), what
        elif asking.part not in {"key", "path"}:  # an unknown key is named by itself; dots make another path of one
            assert all(one.startswith(f"/{asking.name}") for one in named), f"{what}: {named}"
        assert asking.part == "key" or RUN not in body, f"{what}: it is repeated"
        return
    if answer.status_code >= 400:
        most = agents.MOST if "heartbeat" in what else MOST
        assert answer.status_code in refuses | BUSY | ({413} if len(text) > most // 12 else set()), (
            f"{what}: {answer.status_code} {body}"
        )
        return
    _check_kept(asking, text, answer, what)


def _check_kept(asking: Asking, text: str, answer: httpx2.Response, what: str) -> None:
    if answer.headers.get("content-type", "").startswith("application/json") and asking.part == "body":
        told = answer.json()
        if asking.name in told and asking.name != "steps":
            assert told[asking.name] in {text, text.strip(), _normal_host(text)}, what
        # In a PUT an empty one is no password, and leaves what is there.
        if asking.name == "sshPassword" and text:
            assert _stored(asking.service, told["id"]) == text, what
    if asking.name == "x-request-id":
        assert answer.headers["X-Request-ID"].isascii(), what


def _normal_host(text: str) -> str:
    try:
        return ocore.check_host(text)
    except ocore.ConfigError:
        return text


def _stored(service: Service, name: str) -> str | None:
    """Return the password that a run would have of a server."""
    with service.parts.database.read() as session:
        row = session.exec(select(Server).where(Server.id == name)).one()
        found = library_server(row, service.parts.seal)
    assert isinstance(found, ocore.Server)
    return found.credentials.becoming
