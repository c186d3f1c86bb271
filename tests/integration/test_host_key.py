"""A server's host key: reported at first use, held to afterwards, and never any credential to a host with another.

The host's own sshd writes down all that it is sent: what did not happen is proven by its record, not by our word.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

import ocore
from ocore.errors import ErrorCode
from ocore.intake.hostkeys import HostKey
from ocore.transport import SshTransport
from tests.integration.support import OPTIONS, Watch, describe, server, statuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocore.errors import Failure
    from tests.hosts import Host

RECORD = "/run/sshd-record"
# Recent versions of sshd lock out who connects often without logging in, as these tests do.
RECORDING = f"""[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=
ExecStart=/usr/sbin/sshd -D -E {RECORD} -o LogLevel=DEBUG3 -o PerSourcePenalties=no -o PermitRootLogin=yes
"""
HOST_KEYS = "/etc/ssh/sshd_config.d/ocore-test-keys.conf"
PASSWORD = "a word that must not be sent"
WRONG = "SHA256:" + "A" * 43


@pytest.fixture(scope="module")
def recording(start: Callable[..., Host]) -> Host:
    """Return a host whose sshd writes down everything, and takes root's key as well as a password."""
    host = start("root-key")
    host.exec("chpasswd", stdin=f"root:{PASSWORD}\n")
    host.write("/etc/systemd/system/ssh.service.d/record.conf", RECORDING)
    host.exec("systemctl daemon-reload")
    return host


@pytest.fixture
def host(recording: Host) -> Host:
    """Return the recording host with keys of three types and an empty record."""
    _show(recording, "ed25519", "ecdsa", "rsa")
    return recording


def _show(host: Host, *kinds: str) -> None:
    """Let the host have keys of these types only, and begin its record anew."""
    host.write(HOST_KEYS, "".join(f"HostKey /etc/ssh/ssh_host_{kind}_key\n" for kind in kinds))
    host.exec(f": > {RECORD}; systemctl restart ssh")
    host.wait_until_booted()


def _key(host: Host, kind: str = "ed25519") -> HostKey:
    return HostKey.parse(host.read(f"/etc/ssh/ssh_host_{kind}_key.pub"))


def _tried(host: Host) -> set[str]:
    """Return by which ways somebody tried to log in, as the host's sshd recorded it."""
    return set(re.findall(r"userauth-request for user \S+ service \S+ method (\S+)", host.read(RECORD)))


def _offered(host: Host) -> bool:
    """Tell whether sshd was sent a public key, a signature or a password."""
    record = host.read(RECORD)
    assert "KEX done" in record or "SSH2_MSG_KEX_ECDH_INIT received" in record, "the record shows no connection at all"
    return bool(_tried(host) - {"none"}) or re.search(r"userauth_(pubkey|passwd)|Accepted|Failed", record) is not None


def _validate(host: Host, **fields: Any) -> ocore.RunResult:
    return ocore.validate(server(host, **fields), OPTIONS)


def _failure(result: ocore.RunResult) -> Failure:
    assert result.error is not None, describe(result)
    return result.error


class Order(Watch):
    """Asks the host, when its key is reported, how anybody has tried to log in until then."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host
        self.before: set[str] = set()

    def host_key_seen(self, key: HostKey) -> None:
        """Look at the host's record."""
        super().host_key_seen(key)
        self.before = _tried(self._host)


@pytest.mark.promise("A5")
@pytest.mark.parametrize(("by", "method"), [("key", "publickey"), ("password", "password")])
def test_the_first_key_is_reported_before_any_credential_is_sent(host: Host, by: str, method: str) -> None:
    """At first use the host's key is reported, and only then a credential is sent; the result holds the key to pin."""
    watch = Order(host)
    result = ocore.validate(_as(host, by), OPTIONS, recorder=watch)
    assert result.ok, describe(result)
    assert watch.keys == [_key(host)]
    assert watch.before == {"none"}
    assert method in _tried(host), "the record does not even show a login that succeeded"
    assert result.host_key == _key(host)
    assert result.host_key.fingerprint == host.fingerprint()


def _as(host: Host, by: str, **fields: Any) -> ocore.Server:
    """Return the host as a server that is logged in to by root's key or password."""
    if by == "key":
        return server(host, **fields)
    credentials = ocore.Credentials(password=PASSWORD)
    return ocore.Server(host.address, credentials, user="root", port=host.ssh_port, **fields)


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_the_pinned_key_holds_where_the_host_prefers_another_type(host: Host, kind: str) -> None:
    """A host with keys of several types is asked for the pinned one, so that its preference is no change."""
    pinned = _key(host, kind)
    result = _validate(host, host_key=pinned)
    assert result.ok, describe(result)
    assert result.host_key == pinned


@pytest.mark.promise("F16", "A5")
@pytest.mark.parametrize("by", ["key", "password"])
def test_a_changed_key_stops_the_run_before_any_credential_is_sent(host: Host, by: str) -> None:
    """With another key than the pinned one nothing is sent, and both fingerprints are named."""
    pinned = _key(host)
    host.change_key()
    watch = Watch()
    result = ocore.validate(_as(host, by, host_key=pinned), OPTIONS, recorder=watch)
    assert _failure(result).code is ErrorCode.HOST_KEY_CHANGED
    assert pinned.fingerprint in _failure(result).message
    assert host.fingerprint() in _failure(result).message
    assert not _offered(host)
    assert watch.keys == [], "a key that is not the pinned one was reported as if it could be pinned"
    assert result.host_key is None
    assert set(statuses(result).values()) == {"failed", "skipped"}


@pytest.mark.promise("F16")
def test_a_changed_type_of_key_stops_the_run_before_any_credential_is_sent(host: Host) -> None:
    """A host that has no key of the pinned type any more counts as changed."""
    pinned = _key(host)
    _show(host, "ecdsa")
    failure = _failure(_validate(host, host_key=pinned))
    assert failure.code is ErrorCode.HOST_KEY_CHANGED
    assert pinned.fingerprint in failure.message
    assert host.fingerprint("ecdsa") in failure.message
    assert not _offered(host)


class Swapped(SshTransport):
    """Lets something happen to the host after its key was read, and before anybody logs in."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self._then = then

    def host_key(self, server: ocore.Server, where: str) -> HostKey | Failure:
        """Read the key, and change what will answer next."""
        key = super().host_key(server, where)
        self._then()
        return key


@pytest.mark.promise("F17", "A5")
@pytest.mark.parametrize("by", ["key", "password"])
@pytest.mark.parametrize("pins", [True, False], ids=["pinned", "first-use"])
def test_a_key_that_is_swapped_before_the_login_is_refused(host: Host, by: str, *, pins: bool) -> None:
    """The login holds the host to the key that was read a moment ago, and sends nothing to another."""
    pinned = _key(host)
    aim = _as(host, by, host_key=pinned if pins else None)
    result = ocore.validate(aim, OPTIONS, transport=Swapped(host.change_key))
    assert _failure(result).code is ErrorCode.HOST_KEY_CHANGED
    assert pinned.fingerprint in _failure(result).message
    assert host.fingerprint() in _failure(result).message
    assert not _offered(host)


@pytest.mark.promise("F17")
def test_a_type_of_key_that_is_swapped_before_the_login_is_refused(host: Host) -> None:
    """The login also refuses a host that shows a key of another type than it did a moment ago."""
    result = ocore.validate(server(host), OPTIONS, transport=Swapped(lambda: _show(host, "ecdsa")))
    assert _failure(result).code is ErrorCode.HOST_KEY_CHANGED
    assert not _offered(host)


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_the_first_key_may_be_expected_by_its_fingerprint(host: Host, kind: str) -> None:
    """Of a host's keys the one with the expected fingerprint is taken, whatever its type."""
    result = _validate(host, expected_fingerprint=host.fingerprint(kind))
    assert result.ok, describe(result)
    assert result.host_key == _key(host, kind)


def test_a_host_without_the_expected_fingerprint_is_sent_nothing(host: Host) -> None:
    """Where no key has the expected fingerprint, all that the host shows are named and no credential is sent."""
    failure = _failure(_validate(host, expected_fingerprint=WRONG))
    assert failure.code is ErrorCode.HOST_KEY_CHANGED
    assert WRONG in failure.message
    for kind in ("ed25519", "ecdsa", "rsa"):
        assert host.fingerprint(kind) in failure.message
    assert not _offered(host)
