"""Keys: what they seal opens only where it belongs, they can be exchanged, and tokens that are none are refused."""

from __future__ import annotations

import base64
import json
import stat
import threading
import time
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlmodel import col, select

from api.data.tables import Server
from api.errors import SetupError
from api.parts import ENCRYPTION, RINGS, TOKEN, Parts, keyring
from api.security.keyring import Keyring, Ring
from api.security.seal import Binding, Seal, SealBroken
from api.security.tokens import DAY, TokenRefused, Tokens
from api.service.mapping import PASSWORD, PRIVATE_KEY, binding
from api.settings import Settings
from ocore.cli import main
from tests.service.pausing import Pausing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.support import Service

SECRET = "correct horse battery"
RING = Ring.new()
SEAL = Seal(Keyring(ENCRYPTION, None, SecretStr(RING.to_json())))  # type: ignore[arg-type]
BINDINGS = st.builds(
    Binding, st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.integers(1, 65535)
)


# --- what a secret is bound to ----------------------------------------------------------------------------------------


@given(BINDINGS, st.text(max_size=50))
def test_what_was_sealed_opens_where_it_belongs(where: Binding, secret: str) -> None:
    """The secret comes back as it was, and its envelope is another one each time."""
    one, other = SEAL.close(secret, where), SEAL.close(secret, where)
    assert one != other
    assert SEAL.open(one, where) == SEAL.open(other, where) == secret


@pytest.mark.promise("A9")
@given(BINDINGS, BINDINGS)
def test_what_was_sealed_opens_nowhere_else(one: Binding, other: Binding) -> None:
    """Any other organization, server, field, host or port: it does not open; nor do parts that only join alike."""
    envelope = SEAL.close(SECRET, one)
    for name, value in zip(("organization", "server", "field", "host", "port"), astuple(other), strict=True):
        elsewhere = replace(one, **{name: value})
        if elsewhere != one:
            with pytest.raises(SealBroken):
                SEAL.open(envelope, elsewhere)
    moved = replace(one, organization=one.organization + one.server, server="")
    if moved != one:
        with pytest.raises(SealBroken):
            SEAL.open(envelope, moved)


@given(st.data())
def test_a_changed_envelope_does_not_open(data: st.DataObject) -> None:
    """Any other byte, or any byte less, and nothing of the secret is told."""
    where = Binding("o", "s", PASSWORD, "h", 22)
    envelope = bytearray(SEAL.close(SECRET, where))
    place = data.draw(st.integers(0, len(envelope) - 1))
    changed = bytes(envelope[:place])
    if data.draw(st.booleans()):
        changed += bytes([envelope[place] ^ data.draw(st.integers(1, 255))]) + bytes(envelope[place + 1 :])
    with pytest.raises(SealBroken):
        SEAL.open(changed, where)


def row(service: Service, server: str) -> Server:
    """Return a server's row."""
    with service.parts.database.read() as session:
        return session.exec(select(Server).where(col(Server.id) == server)).one()


@pytest.mark.promise("A9")
def test_a_secret_that_was_moved_to_another_row_is_not_used(service: Service) -> None:
    """Who can write to the database cannot have one server's password sent to another one."""
    one, other = (service.create(authMethod="password", sshPassword=SECRET, sshPrivateKey=None) for _ in range(2))
    service.set(other["id"], sealed_password=row(service, one["id"]).sealed_password)
    transport = Pausing(after=-1)
    with service.worker(transport):
        service.until(other["id"], "error")
        service.until(one["id"], "active")
    assert service.runs(other["id"])[0]["errorCode"] == "secret_required"
    assert transport.started == 1


@pytest.mark.promise("A3")
@pytest.mark.parametrize("change", [{"host": "192.0.2.99"}, {"port": 2222}])
def test_a_password_goes_to_no_other_address(service: Service, change: dict[str, Any]) -> None:
    """PUT of another host or port: the run ends with secret_required and nothing was begun; sent anew, it works."""
    made = service.create(authMethod="password", sshPassword=SECRET, sshPrivateKey=None)
    assert service.call("PUT", f"/api/servers/{made['id']}", json=change).status_code == 200
    transport = Pausing(after=-1)
    with service.worker(transport):
        found = service.until(made["id"], "error")
        assert "PUT" in found["statusMessage"]
        assert service.runs(made["id"])[0]["errorCode"] == "secret_required"
        assert transport.started == 0
        assert service.call("PUT", f"/api/servers/{made['id']}", json={"sshPassword": SECRET}).status_code == 200
        service.until(made["id"], "active")


def test_a_private_key_goes_along_to_another_address(service: Service) -> None:
    """A false host learns nothing from a key: it is bound to the new address, and no more to the old one."""
    made = service.create()
    before = row(service, made["id"])
    assert service.call("PUT", f"/api/servers/{made['id']}", json={"host": "192.0.2.99"}).status_code == 200
    after = row(service, made["id"])
    assert after.sealed_private_key is not None
    assert "PRIVATE KEY" in service.parts.seal.open(after.sealed_private_key, binding(after, PRIVATE_KEY))
    with pytest.raises(SealBroken):
        service.parts.seal.open(after.sealed_private_key, binding(before, PRIVATE_KEY))
    with service.worker():
        service.until(made["id"], "active")


# --- exchanging keys --------------------------------------------------------------------------------------------------


@pytest.fixture
def as_set(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the commands use the test's storage."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.promise("F30")
@pytest.mark.usefixtures("as_set")
def test_the_encryption_key_is_exchanged_under_a_running_service(service: Service) -> None:
    """Everything is sealed anew; dropped, the old key is gone, and the service goes on without a restart."""
    made = service.create(sshPassword=SECRET)
    old = keyring(service.settings, ENCRYPTION).ring().active
    sealed = row(service, made["id"]).sealed_password
    assert sealed is not None
    assert main(["keys", "rotate", "encryption"]) == 0
    ring = keyring(service.settings, ENCRYPTION).ring()
    assert list(ring.keys) == [old, ring.active]
    anew = row(service, made["id"]).sealed_password
    assert anew is not None
    assert service.parts.seal.is_active(anew)
    assert not service.parts.seal.is_active(sealed)

    assert main(["keys", "drop", "encryption"]) == 0
    ring = keyring(service.settings, ENCRYPTION).ring()
    assert list(ring.keys) == [ring.active]
    with pytest.raises(SealBroken):
        service.parts.seal.open(sealed, binding(row(service, made["id"]), PASSWORD))
    with service.worker():
        service.until(made["id"], "active")
    assert stat.S_IMODE(keyring(service.settings, ENCRYPTION).file.stat().st_mode) == 0o600


@pytest.mark.usefixtures("as_set")
def test_a_secret_that_does_not_open_is_dropped_when_keys_are_exchanged(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """A password that is bound to an earlier address is of no use to anybody; that is said."""
    made = service.create(authMethod="password", sshPassword=SECRET, sshPrivateKey=None)
    service.call("PUT", f"/api/servers/{made['id']}", json={"host": "192.0.2.99"})
    assert main(["keys", "rotate", "encryption"]) == 0
    assert "1 that were bound to an earlier address are gone" in capsys.readouterr().err
    assert row(service, made["id"]).sealed_password is None


@pytest.mark.promise("F30")
@pytest.mark.usefixtures("as_set")
def test_token_keys_are_exchanged_in_two_steps(service: Service) -> None:
    """An older token is taken until the older keys are dropped; secrets are not concerned."""
    token = service.token()
    assert main(["keys", "rotate", "token"]) == 0
    assert service.call("GET", "/api/servers", token=token).status_code == 200
    newer = service.token()
    assert main(["keys", "drop", "token"]) == 0
    assert [service.call("GET", "/api/servers", token=one).status_code for one in (token, newer)] == [401, 200]
    assert service.call("GET", "/api/servers").status_code == 200


@pytest.mark.usefixtures("as_set")
def test_the_same_request_is_known_after_keys_were_exchanged(service: Service) -> None:
    """An Idempotency-Key holds over any number of exchanges, as long as the older keys are kept."""
    body, headers = service.body(), {"Idempotency-Key": "a-key"}
    made = service.call("POST", "/api/servers", json=body, headers=headers)
    ring = keyring(service.settings, ENCRYPTION)
    for _ in range(12):
        ring.change(Ring.rotated)
    again = service.call("POST", "/api/servers", json=body, headers=headers)
    assert (again.status_code, again.json()) == (201, made.json())


@pytest.mark.usefixtures("as_set")
def test_a_key_is_prepared_before_it_is_used(service: Service) -> None:
    """On several machines a new key is copied everywhere first: nothing is sealed with it until then."""
    old = keyring(service.settings, ENCRYPTION).ring().active
    assert main(["keys", "rotate", "encryption", "--prepare"]) == 0
    prepared = keyring(service.settings, ENCRYPTION).ring()
    assert prepared.active == old
    assert len(prepared.keys) == 2
    assert main(["keys", "rotate", "encryption"]) == 0
    ring = keyring(service.settings, ENCRYPTION).ring()
    assert (ring.active, set(ring.keys)) == (next(reversed(prepared.keys)), set(prepared.keys))


def test_a_machine_without_the_key_destroys_nothing(service: Service) -> None:
    """Where the ring is not up to date a change of the address is refused, and what is stored stays."""
    made = service.create()
    ring = keyring(service.settings, ENCRYPTION)
    whole = ring.ring()
    sealed = row(service, made["id"]).sealed_private_key
    ring.change(lambda _: Ring.new())
    answer = service.call("PUT", f"/api/servers/{made['id']}", json={"host": "192.0.2.98"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert row(service, made["id"]).sealed_private_key == sealed
    with service.worker():
        assert "Copy the ring" in service.until(made["id"], "error")["statusMessage"]
    ring.change(lambda _: whole)
    with service.worker():
        service.call("POST", f"/api/servers/{made['id']}/retry")
        service.until(made["id"], "active")


def test_a_ring_that_is_being_made_is_never_seen_half_made(tmp_path: Path) -> None:
    """Of many who start together one makes it, and all read the same one."""
    for number in range(20):
        begin, seen = threading.Barrier(6), []

        def start(file: Path, begin: threading.Barrier, seen: list[str]) -> None:
            begin.wait()
            ring = Keyring(ENCRYPTION, file, None)
            if not ring.exists():
                ring.create()
            seen.append(ring.ring().active)

        threads = [threading.Thread(target=start, args=(tmp_path / f"{number}.json", begin, seen)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 6
        assert len(set(seen)) == 1
    assert {one.suffix for one in tmp_path.iterdir()} == {".json"}


# --- no start without the keys ----------------------------------------------------------------------------------------


def refused(settings: Settings) -> str:
    """Return why the service does not start."""
    with pytest.raises(SetupError) as caught:
        Parts.open(settings)
    return str(caught.value)


def test_no_start_without_an_encryption_key(service: Service) -> None:
    """Where servers are stored, a missing key is not made anew: it says which file, and what to do."""
    service.create()
    file = keyring(service.settings, ENCRYPTION).file
    file.unlink()
    words = refused(service.settings)
    assert str(file) in words
    assert "Put the file back" in words
    assert not file.exists()


@pytest.mark.promise("F30")
def test_no_start_with_a_wrong_encryption_key(service: Service) -> None:
    """It says how many secrets could not be opened, and that the key has to be put back."""
    service.create(sshPassword=SECRET)
    ring = keyring(service.settings, ENCRYPTION)
    ring.change(lambda _: Ring.new())
    words = refused(service.settings)
    assert "2 stored secret(s)" in words
    assert str(ring.file) in words
    assert "Put that key back" in words


@pytest.mark.parametrize("name", RINGS)
@pytest.mark.parametrize("mode", [0o604, 0o640])
def test_no_start_with_keys_that_others_can_read(service: Service, name: str, mode: int) -> None:
    """It says which file, and the command that mends it."""
    file = keyring(service.settings, name).file
    file.chmod(mode)
    words = refused(service.settings)
    assert f"{file} can be read by others" in words
    assert "chmod 600" in words


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"active": "a", "keys": {"a": "c2hvcnQ="}}', '{"active": 1}', "\xe4"]
)
def test_no_start_with_something_else_in_the_file(service: Service, content: str) -> None:
    """It says that this is no ring of keys, and shows nothing of it."""
    file = keyring(service.settings, ENCRYPTION).file
    file.write_bytes(content.encode("latin-1"))
    assert refused(service.settings) == f"What is in {file} is no ring of keys."


def test_keys_may_come_from_the_environment(service: Service) -> None:
    """Given as a setting they are used instead of the file, and it says that they cannot be exchanged there."""
    ring = Ring.new()
    settings = service.settings.model_copy(update={"encryption_keys": SecretStr(ring.to_json())})
    parts = Parts.open(settings)
    parts.close()
    with pytest.raises(SetupError, match="OCORE_ENCRYPTION_KEYS"):
        keyring(settings, ENCRYPTION).change(Ring.rotated)
    assert ring.to_json() not in repr(settings)


# --- tokens -----------------------------------------------------------------------------------------------------------

TOKENS = Tokens(Keyring(TOKEN, None, SecretStr(RING.to_json())), Settings())  # type: ignore[arg-type]
KEY = Ed25519PrivateKey.from_private_bytes(RING.keys[RING.active])
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
# Of the moment when the tests are found: what they are about may be hours later.
NOW = int(time.time())
CLAIMS: dict[str, Any] = {
    "iss": "ocore", "aud": "ocore-api", "sub": "s", "org": "o", "permissions": ["view:servers"],
    "iat": NOW, "exp": NOW + DAY, "jti": "j",
}  # fmt: skip
HEADER: dict[str, Any] = {"alg": "EdDSA", "typ": "JWT", "kid": RING.active}


def part(value: Any) -> bytes:
    """Return a part of a token, from an object or from text."""
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=")


def signed(header: Any = HEADER, claims: Any = CLAIMS, key: Ed25519PrivateKey = KEY) -> str:
    """Return a token as somebody with our key would write it."""
    said = part(header) + b"." + part(claims)
    return (said + b"." + base64.urlsafe_b64encode(key.sign(said)).rstrip(b"=")).decode()


def without(name: str) -> dict[str, Any]:
    """Return the claims but for one."""
    return {key: value for key, value in CLAIMS.items() if key != name}


def twice(values: dict[str, Any], name: str, value: str) -> str:
    """Return an object as JSON that names something twice."""
    return json.dumps(values)[:-1] + f', "{name}": "{value}"}}'


def by_public_key() -> str:
    """Return a token that is signed by what everybody may know, as if it were a password."""
    return jwt.PyJWS(options={}).encode(
        json.dumps(CLAIMS).encode(), base64.b64encode(PUBLIC), "HS256", headers={"kid": RING.active}
    )


REFUSED = {
    "empty": "",
    "two parts": "a.b",
    "four parts": signed() + ".x",
    "no JSON": "e30.!!.x",
    "not ASCII": signed() + "ü",
    "5 MB": signed(claims=CLAIMS | {"x": "x" * 5_000_000}),
    "9 KiB": signed(claims=CLAIMS | {"x": "x" * 9_000}),
    "deep": signed(claims="[" * 3000),
    "alg none": (part(HEADER | {"alg": "none"}) + b"." + part(CLAIMS) + b".").decode(),
    "alg none, signed": signed(HEADER | {"alg": "none"}),
    "alg missing": signed({"typ": "JWT", "kid": RING.active}),
    "alg array": signed(HEADER | {"alg": ["EdDSA"]}),
    "HS256 with the public key": by_public_key(),
    "ES256": signed(HEADER | {"alg": "ES256"}),
    "another key": signed(key=Ed25519PrivateKey.generate()),
    "no signature": signed().rpartition(".")[0] + ".",
    "another's claims": ".".join(
        [signed().split(".")[0], part(CLAIMS | {"org": "p"}).decode(), signed().split(".")[2]]
    ),
    "crit": signed(HEADER | {"crit": ["exp"]}),
    "b64": signed(HEADER | {"b64": False}),
    "typ": signed(HEADER | {"typ": "at+jwt"}),
    "kid unknown": signed(HEADER | {"kid": "x"}),
    "kid missing": signed({"alg": "EdDSA"}),
    "kid array": signed(HEADER | {"kid": [RING.active]}),
    "kid object": signed(HEADER | {"kid": {}}),
    "header twice": signed(twice(HEADER, "alg", "EdDSA")),
    "claim twice": signed(claims=twice(CLAIMS, "org", "p")),
    "header no object": signed("[]"),
    "claims no object": signed(claims="[]"),
    **{f"no {name}": signed(claims=without(name)) for name in CLAIMS if name != "permissions"},
    **{f"{name} null": signed(claims=CLAIMS | {name: None}) for name in CLAIMS},
    "iss wrong": signed(claims=CLAIMS | {"iss": "ocore2"}),
    "iss array": signed(claims=CLAIMS | {"iss": ["ocore"]}),
    "aud wrong": signed(claims=CLAIMS | {"aud": "other"}),
    "aud empty": signed(claims=CLAIMS | {"aud": []}),
    "org empty": signed(claims=CLAIMS | {"org": ""}),
    "org number": signed(claims=CLAIMS | {"org": 1}),
    "org array": signed(claims=CLAIMS | {"org": ["o"]}),
    "sub surrogate": signed(claims=CLAIMS | {"sub": "\ud800"}),
    "org surrogate": signed(claims=CLAIMS | {"org": "\udfff"}),
    "jti surrogate": signed(claims=CLAIMS | {"jti": "\ud800"}),
    "sub control": signed(claims=CLAIMS | {"sub": "a\nb"}),
    "permissions text": signed(claims=CLAIMS | {"permissions": "manage:servers"}),
    "permissions numbers": signed(claims=CLAIMS | {"permissions": [1]}),
    "ended": signed(claims=CLAIMS | {"iat": NOW - 2 * DAY, "exp": NOW - DAY}),
    "iat in the future": signed(claims=CLAIMS | {"iat": NOW + DAY, "exp": NOW + 2 * DAY}),
    "nbf in the future": signed(claims=CLAIMS | {"nbf": NOW + DAY}),
    "lives too long": signed(claims=CLAIMS | {"exp": NOW + 367 * DAY}),
    "lives too long, begun early": signed(claims=CLAIMS | {"iat": NOW - 400 * DAY}),
    "exp text": signed(claims=CLAIMS | {"exp": str(NOW + DAY)}),
    "exp fraction": signed(claims=CLAIMS | {"exp": NOW + DAY + 0.5}),
    "exp 400 digits": signed(claims=CLAIMS | {"exp": int("9" * 400)}),
    "exp 5000 digits": signed(claims=json.dumps(CLAIMS).replace(str(NOW + DAY), "9" * 5000)),
    "exp infinite": signed(claims=CLAIMS | {"exp": float("inf")}),
    "exp NaN": signed(claims=CLAIMS | {"exp": float("nan")}),
    "iat NaN": signed(claims=CLAIMS | {"iat": float("nan")}),
    "iat true": signed(claims=CLAIMS | {"iat": True}),
}


def test_a_proper_token_is_taken() -> None:
    """As issued by us, and as the corpus below writes it: so what is refused there is refused for its fault."""
    for token in (signed(), TOKENS.issue("o", "s", ["view:servers"], 3600)[0]):
        caller, _ = TOKENS.read(token)
        assert (caller.organization, caller.subject, caller.permissions) == ("o", "s", {"view:servers"})


@pytest.mark.promise("A11")
@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
def test_what_is_no_token_of_ours_is_refused(token: str) -> None:
    """Whatever is the matter with it, it is refused, and nothing else is raised."""
    with pytest.raises(TokenRefused):
        TOKENS.read(token)


def test_refused_tokens_are_answered_alike(service: Service) -> None:
    """Over the API each gets 401 with the same words: nobody learns how near it came."""
    said = set()
    for name, token in REFUSED.items():
        if token.isascii() and 0 < len(token) < 100_000 and "\n" not in token:
            answer = service.call("GET", "/api/servers", token=token)
            assert answer.status_code == 401, name
            said.add(answer.json()["detail"])
    assert len(said) == 1


@pytest.mark.promise("A11")
@given(st.binary(max_size=200))
def test_noise_is_no_token(noise: bytes) -> None:
    """Any bytes in any of the three parts: refused."""
    text = base64.urlsafe_b64encode(noise).decode()
    for token in (noise.decode("latin-1"), f"{text}.{text}.{text}", f"{part(HEADER).decode()}.{text}.{text}"):
        with pytest.raises(TokenRefused):
            TOKENS.read(token)
