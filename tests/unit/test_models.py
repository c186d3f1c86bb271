"""The values: each checks itself, none shows a secret, a plan is the same bytes for the same inputs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import socket
import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from ocore import models
from ocore.errors import ConfigError, ErrorCode, Failure, RunFailed
from ocore.intake.hostkeys import HostKey
from ocore.models import (
    Credentials,
    Drift,
    Plan,
    PlannedStep,
    RunResult,
    RunStatus,
    Server,
    StepReading,
    StepResult,
    StepStatus,
)
from ocore.options import ProvisionOptions
from tests.unit.keymaker import private_key, public_key

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGIN = Credentials(password="p")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def agent() -> Iterator[str]:
    """Return the path of a socket; pytest's own folders are too long for one."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/agent")
        yield f"{folder}/agent"


@pytest.mark.parametrize("path", ["agent", "/nowhere/agent", "/tmp/a b", "/tmp/%h", "/dev/null"])
def test_an_agent_must_be_a_socket(path: str) -> None:
    """What is no socket, or would be read as something else in ssh's options, is refused by name."""
    with pytest.raises(ConfigError, match="agent_socket"):
        Credentials(agent_socket=path)


def test_credentials_take_exactly_one_way_to_log_in(agent: str) -> None:
    """None, or two at a time, is an error that says which there are."""
    for given in (
        {},
        {"password": "p", "agent_socket": agent},
        {"private_key": private_key("ed25519"), "password": "p"},
    ):
        with pytest.raises(ConfigError, match="exactly one of private_key, password, agent_socket") as caught:
            Credentials(**given)
        assert caught.value.code is ErrorCode.SECRET_REQUIRED


def test_credentials_never_show_a_secret() -> None:
    """Neither repr() nor str() of credentials, or of a server with them, holds a secret."""
    key = private_key("ed25519")
    for login in (Credentials(password="hunter2", sudo_password="hunter3"), Credentials(private_key=key)):
        for shown in (repr(login), str(login), repr(Server(host="h", credentials=login))):
            assert "hunter" not in shown
            assert "PRIVATE KEY" not in shown


def test_credentials_know_their_secrets(agent: str) -> None:
    """Every secret is listed, so that it can be taken out of texts."""
    assert Credentials(password="a", sudo_password="b").secrets == ("a", "b")
    assert Credentials(agent_socket=agent).secrets == ()


def test_sudo_is_given_the_login_password_where_it_has_none_of_its_own() -> None:
    """The sudo password wins, the login's is next, and a key alone gives none."""
    assert Credentials(password="a").becoming == "a"
    assert Credentials(password="a", sudo_password="b").becoming == "b"
    assert Credentials(private_key=private_key("ed25519")).becoming is None


@pytest.mark.parametrize("password", ["", "a\nb", "a\rb", "a\0b", "x" * 1025, "\ud800", 5])
@pytest.mark.parametrize("field", ["password", "sudo_password"])
def test_a_password_that_cannot_be_typed_is_refused(field: str, password: Any) -> None:
    """Passwords have 1 to 1024 characters, on one line, that can be encoded; the refusal does not repeat them."""
    given = {"password": "p"} | {field: password}
    with pytest.raises(ConfigError) as caught:
        Credentials(**given)
    assert caught.value.field == field


@pytest.mark.parametrize("password", [" ", " a ", "{{ x }}", "'\"$`\\", "\t", "ü𐍈", "x" * 1024])
def test_a_password_is_kept_verbatim(password: str) -> None:
    """Nothing is trimmed or mended in a password."""
    assert Credentials(password=password).password == password


def test_a_key_in_credentials_is_normalised() -> None:
    """Credentials hold the key as OpenSSH wants it."""
    login = Credentials(private_key=private_key("ed25519").replace("\n", "\r\n"))
    assert login.private_key
    assert "\r" not in login.private_key


def test_a_server_normalises_and_checks_its_fields() -> None:
    """Host, user, port and fingerprint follow their rules already when the server is made."""
    assert Server(host="[2001:DB8::1]", credentials=LOGIN).host == "2001:db8::1"
    wrong: dict[str, Any]
    for wrong in ({"host": "127.1"}, {"user": "-l"}, {"port": 0}, {"expected_fingerprint": "MD5:x"}, {"id": "../x"}):
        with pytest.raises(ConfigError):
            Server(**{"host": "h", "credentials": LOGIN} | wrong)


def test_a_server_without_id_gets_the_same_one_each_time() -> None:
    """The id is made from host and port, in normal form, and from nothing else."""
    one = Server(host="Example.com", credentials=LOGIN)
    assert one.id == Server(host="example.com", credentials=LOGIN, user="admin").id
    assert one.id != Server(host="example.com", credentials=LOGIN, port=2222).id


def test_a_server_is_written_as_people_write_it() -> None:
    """An IPv6 address gets its brackets."""
    assert Server(host="::1", credentials=LOGIN, port=2222).address == "root@[::1]:2222"


# Each has the letters of an address, and leads nowhere.
NOWHERE = (
    "https://:443",
    "https://h:",
    "https://h:0",
    "https://h:99999",
    "https://h:1:2",
    "https://...",
    "https://-h",
    "https://127.1",
    "http://[zz]",
    "http://[::1",
    "http://[::1]x",
    "http://[::ffff:1.2.3]",
    "http://2001:db8::5",
)


@pytest.mark.parametrize(
    "wrong",
    [
        {"proxy": "apache"},
        {"docker_source": "snap"},
        {"caddy_image": "caddy"},
        {"caddy_image": "caddy:latest; id"},
        {"nginx_image": "{{ x }}:1"},
        {"nginx_image": None},
        {"traefik_image": "traefik"},
        {"minimum_memory_mb": -1},
        {"minimum_disk_gb": 1.5},
        {"lock_timeout": True},
        {"lock_timeout": 1201},
        {"agent_url": "ftp://x"},
        {"agent_url": "https://user@x"},
        {"agent_url": "https://x/"},
        {"agent_url": "https://x/?a=b"},
        {"agent_url": "https://x/{{ y }}"},
        {"agent_url": 1},
        *({name: url} for name in ("agent_url", "apt_proxy") for url in NOWHERE),
        {"agent_interval": 9},
        {"agent_interval": 3601},
        {"agent_interval": True},
        {"apt_proxy": "ftp://x"},
        {"swap_mb": -1},
        {"security": "yes"},
        {"allow_loopback": "false"},
        {"deny_private": 1},
        {"security_ports": "http"},
        {"security_ports": "80,"},
        {"security_ports": "70000"},
        {"security_ports": None},
        {"apt_proxy": "http://x:1/;id"},
        {"apt_proxy": 'http://x"\n'},
    ],
)
def test_an_option_that_breaks_its_rule_is_refused(wrong: dict[str, Any]) -> None:
    """The error names the option."""
    with pytest.raises(ConfigError) as caught:
        ProvisionOptions(**wrong)
    assert [caught.value.field] == list(wrong)


@pytest.mark.parametrize(
    "url", ["https://h", "http://h:1", "https://[2001:db8::5]", "https://[2001:db8::5]:8443", "http://192.0.2.1:65535"]
)
def test_addresses_that_lead_somewhere_are_taken(url: str) -> None:
    """By name, IPv4 or IPv6, with a port or without; the service's also with a path."""
    assert ProvisionOptions(agent_url=f"{url}/a/b", apt_proxy=f"{url}/").variables()["agent_url"] == f"{url}/a/b"
    assert ProvisionOptions(agent_url=url, apt_proxy=url)


def test_an_image_may_have_a_digest() -> None:
    """Images are pinned by tag, and by digest where somebody wants it."""
    image = "registry.example:5000/a/caddy:2@sha256:" + "a" * 64
    assert ProvisionOptions(caddy_image=image).variables()["proxy_caddy_image"] == image


def test_every_option_but_those_of_addresses_sets_a_role_variable() -> None:
    """Which addresses are reached, and whose steps are run, is the engine's affair; all else reaches the roles."""
    names = {one.name for one in dataclasses.fields(ProvisionOptions)} - {"allow_loopback", "deny_private", "site"}
    assert len(ProvisionOptions().variables()) == len(names)


def test_a_plan_is_the_same_bytes_for_the_same_inputs() -> None:
    """Its hash is that of its canonical spelling, whatever the order in which the options were put together."""
    steps = (PlannedStep("docker", run=True, reasons=("ü",)),)
    one = Plan("id", {"a": 1, "b": 2}, "c0ffee", steps)
    other = Plan("id", {"b": 2, "a": 1}, "c0ffee", steps)
    assert one.to_json() == other.to_json()
    assert one.hash == other.hash == hashlib.sha256(one.to_json().encode()).hexdigest()
    assert json.loads(one.to_json()) == one.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"server_id": "x"},
        {"options": {"a": 2}},
        {"content": "x"},
        {"steps": ()},
        {"steps": (PlannedStep("docker", run=False, reasons=()),)},
    ],
)
def test_a_plan_of_other_inputs_has_another_hash(change: dict[str, Any]) -> None:
    """Everything in a plan is in its hash."""
    plan = Plan("id", {"a": 1}, "c0ffee", (PlannedStep("docker", run=True, reasons=()),))
    assert dataclasses.replace(plan, **change).hash != plan.hash


def test_drift_is_true_where_something_drifted() -> None:
    """No steps: no drift."""
    assert not Drift(())
    assert Drift((StepReading("docker", so=False, due=True),))


def _result(status: RunStatus, error: Failure | None = None) -> RunResult:
    step = StepResult("connect", StepStatus.SUCCESS, "", NOW, NOW, 1)
    return RunResult("validate", "run", status, (step,), error=error)


def test_a_run_that_succeeded_is_returned_for_chaining() -> None:
    """raise_for_status() gives the result back."""
    result = _result(RunStatus.SUCCESS)
    assert result.ok
    assert result.raise_for_status() is result


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_run_that_failed_raises_where_asked(status: RunStatus) -> None:
    """The exception carries the result, and says what happened and what to do."""
    failure = Failure(ErrorCode.AUTH_DENIED, "The host does not accept the key.")
    with pytest.raises(RunFailed, match=r"does not accept the key\. Check the user") as caught:
        _result(status, failure).raise_for_status()
    assert caught.value.result.error is failure


def test_values_are_frozen() -> None:
    """No value changes once it is made, so it may be shared by threads."""
    for value in (
        LOGIN,
        Server(host="h", credentials=LOGIN),
        ProvisionOptions(),
        HostKey.parse(public_key()),
        _result(RunStatus.SUCCESS),
    ):
        name = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)


def test_the_list_of_statuses_is_closed() -> None:
    """A step that is unchanged did not run, so it is no success and no failure."""
    assert {one.value for one in models.StepStatus} == {
        "running",
        "success",
        "unchanged",
        "failed",
        "skipped",
        "cancelled",
    }


def test_a_server_takes_values_of_their_own_types() -> None:
    """A key as text, or no credentials, is refused where the server is made, and not when it is used."""
    with pytest.raises(ConfigError, match=r"HostKey\.parse"):
        Server("h", LOGIN, host_key="ssh-ed25519 AAAA")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="credentials"):
        Server("h", None)  # type: ignore[arg-type]
