"""Tokens of other issuers: whose are taken, what they may, and what their keys must be."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from pydantic import ValidationError
from sqlmodel import select

from api.data.tables import Organization
from api.security.jwks import KeysRefused, read_keys
from api.security.tokens import MANAGE, VIEW
from api.settings import Issuer, Settings
from tests.service import issuers_table
from tests.service.issuer import (
    AUDIENCE,
    ISSUER,
    TIMES,
    Published,
    Signer,
    asked,
    new_key,
    public_jwk,
    publishing,
    trusting,
)
from tests.service.problems import problem
from tests.service.support import Service, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIGNERS = {name: Signer(name, name) for name in ("RS256", "ES256", "EdDSA")}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Return an issuer with a key of each kind."""
    with publishing(tmp_path_factory.mktemp("issuer"), *SIGNERS.values()) as found:
        yield found


@pytest.fixture(scope="module")
def trusted(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a service that takes its tokens, with keys that do not grow old meanwhile."""
    slow = {"issuers_lifetime": 300, "issuers_pause": 300, "issuers_timeout": 10}
    with opened(trusting(tmp_path_factory.mktemp("home"), published, **slow)) as service:
        service.organization("one")
        yield service


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_a_token_of_each_algorithm_is_taken(trusted: Service, algorithm: str) -> None:
    """With the organization by its name or its id; and ours still are."""
    signer = SIGNERS[algorithm]
    for organization in ("one", trusted.organization("one")):
        assert asked(trusted, signer.token(org=organization)) == 200
    assert asked(trusted, signer.token(header={"typ": "at+jwt"}, aud=["other", AUDIENCE], jti="5")) == 200
    assert asked(trusted, trusted.token()) == 200


def test_permissions_are_those_of_the_claim(trusted: Service) -> None:
    """A list, or one text with blanks; without any of ours nothing is allowed."""
    signer = SIGNERS["ES256"]
    for permissions, statuses in (
        ([VIEW], (200, 403)),
        ([MANAGE], (200, 201)),
        (f"openid {VIEW}", (200, 403)),
        ([], (403, 403)),
        (None, (403, 403)),
        (["admin", "*"], (403, 403)),
    ):
        token = signer.token(permissions=permissions)
        made = trusted.call("POST", "/api/servers", token=token, json=trusted.body())
        assert (asked(trusted, token), made.status_code) == statuses, permissions
    run = trusted.runs(trusted.create()["id"])[0]
    assert run["createdBy"] == "tester"
    made = trusted.call("POST", "/api/servers", token=signer.token(), json=trusted.body()).json()
    assert trusted.runs(made["id"])[0]["createdBy"] == f"alice ({ISSUER})"


def test_an_organization_is_never_made(trusted: Service) -> None:
    """One that is not there is a 401, and is not there afterwards either."""
    for organization in ("nobody", "", 5, None, ["one"], "x" * 201):
        assert asked(trusted, SIGNERS["ES256"].token(org=organization)) == 401
    with trusted.parts.database.read() as session:
        assert "nobody" not in session.exec(select(Organization.name)).all()


def test_our_own_tokens_know_organizations_by_their_ids_alone(trusted: Service) -> None:
    """Names are for other issuers."""
    assert asked(trusted, trusted.parts.tokens.issue("one", "tester", [MANAGE], 600)[0]) == 401


def _forged() -> dict[str, str]:
    signer, now = SIGNERS["ES256"], int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600, "org": "one"}
    claims["permissions"] = [MANAGE]
    rsa_public = SIGNERS["RS256"].key.public_key()
    pem = rsa_public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head, body, signature = signer.token().split(".")
    twice = _part(f'{{"iss": "{ISSUER}", "org": "two", ' + json.dumps(claims)[1:])
    return {
        "no signature": jwt.encode(claims, "", "none", headers={"kid": "ES256"}),
        "none, unsigned": f"{_part(json.dumps({'alg': 'none', 'kid': 'ES256'}))}.{body}.",
        "the public key as a secret": _symmetric(pem, claims),
        "another key of the name": Signer("ES256").token(),
        "another algorithm of the name": Signer("ES256", "EdDSA").token(),
        "the key of another algorithm": signer.token(header={"kid": "RS256"}),
        "an unknown key": signer.token(header={"kid": "x"}),
        "no key": jwt.encode(claims, signer.key, "ES256"),
        "a key that is no text": f"{_part(json.dumps({'alg': 'ES256', 'kid': 5}))}.{body}.{signature}",
        "crit": signer.token(header={"crit": ["x"], "x": 1}),
        "another type": signer.token(header={"typ": "logout+jwt"}),
        "its own key with it": Signer("y").token(header={"jwk": Signer("y").jwk}),
        "another algorithm in the family": _with_algorithm("RS512"),
        "another issuer": signer.token(iss="https://evil.example.org/"),
        "an issuer in a list": signer.token(iss=[ISSUER]),
        "another audience": signer.token(aud="other"),
        "no audience": signer.token(aud=None),
        "no end": signer.token(exp=None),
        "no subject": signer.token(sub=None),
        "over": signer.token(exp=now - 60, iat=now - 120),
        "not yet": signer.token(nbf=now + 600),
        "for ever": signer.token(exp=now + 400 * 86400),
        "for ever, without a beginning": signer.token(exp=now + 400 * 86400, iat=None),
        "an end that is a text": signer.token(exp=str(now + 600)),
        "permissions that are numbers": signer.token(permissions=[1]),
        "a name twice": f"{head}.{twice}.{signature}",
        "cut": f"{head}.{body}",
    }


def _part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _symmetric(secret: bytes, claims: dict[str, Any]) -> str:
    """Sign with a public key as if it were a secret, which PyJWT itself would not do."""
    signed = f"{_part(json.dumps({'alg': 'HS256', 'kid': 'RS256'}))}.{_part(json.dumps(claims))}"
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = algorithm.sign(signed.encode(), secret)
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _with_algorithm(name: str) -> str:
    signer = SIGNERS["RS256"]
    claims = jwt.decode(signer.token(), options={"verify_signature": False})
    return jwt.encode(claims, signer.key, name, headers={"kid": "RS256"})


@pytest.mark.promise("A11")
def test_a_forged_token_is_a_401(trusted: Service, published: Published) -> None:
    """Whatever its header says of algorithms and keys; nobody is asked for more than the keys at the beginning."""
    assert asked(trusted, SIGNERS["ES256"].token()) == 200
    for what, token in _forged().items():
        answer = trusted.call("GET", "/api/servers", token=token)
        assert answer.status_code == 401, what
        problem(answer, 401, "unauthorized")
    assert published.asked == 1


def test_an_issuer_speaks_for_what_the_settings_say(published: Published, tmp_path: Path) -> None:
    """Claims by other names, roles that mean our permissions, some organizations and one algorithm alone."""
    issuer = {
        "algorithms": ("ES256",),
        "organization_claim": "https://example.org/team",
        "permissions_claim": ("realm_access", "roles"),
        "grants": {"operator": MANAGE, "guest": VIEW},
        "organizations": ("one",),
    }
    signer = SIGNERS["ES256"]
    with opened(trusting(tmp_path, published, issuer)) as service:
        service.organization("one")
        service.organization("two")

        def code(organization: str, *roles: str) -> int:
            claims = {"https://example.org/team": organization, "realm_access": {"roles": list(roles)}}
            return asked(service, signer.token(**claims))

        assert code("one", "guest") == code("one", "operator", "other") == 200
        assert code("one", "other") == code("one", MANAGE) == 403
        assert code("two", "operator") == 401
        assert asked(service, signer.token()) == 401
        assert asked(service, SIGNERS["EdDSA"].token()) == 401


def test_which_keys_of_a_set_are_used() -> None:
    """Each goes with one algorithm; weak, secret, symmetric and other keys are not there."""
    good = [public_jwk(name, name, signer.key) for name, signer in SIGNERS.items()]
    small = public_jwk("small", "RS256", rsa.generate_private_key(65537, 1024))  # noqa: S505 - on purpose
    private = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(new_key("ES256"))) | {"kid": "private"}
    others = [
        small,
        private,
        {"kty": "oct", "k": _part("secret"), "kid": "symmetric"},
        public_jwk("curve", "ES256", ec.generate_private_key(ec.SECP384R1())),
        public_jwk("448", "EdDSA", ed448.Ed448PrivateKey.generate()),
        good[0] | {"kid": "encryption", "use": "enc"},
        good[0] | {"kid": "operations", "key_ops": ["encrypt"]},
        good[0] | {"kid": "algorithm", "alg": "RS512"},
        good[1] | {"kid": "point", "x": _part("x")},
        good[0] | {"kid": 5},
        {name: value for name, value in good[0].items() if name != "kid"},
        "text",
        {"kid": "x", "kty": []},
    ]
    found = read_keys(json.dumps({"keys": [*others, *good]}).encode())
    assert {name: key.algorithm for name, key in found.items()} == {name: name for name in SIGNERS}
    for wrong in (b"", b"[]", b"{}", b'{"keys": {}}', b"\xff", b"[" * 100_000, b'{"keys": [], "keys": []}'):
        with pytest.raises(KeysRefused):
            read_keys(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"jwks_url": "http://id.example.org/keys"},
        {"jwks_url": "file:///etc/passwd"},
        {"jwks_url": "https://user:secret@id.example.org/keys"},
        {"jwks_url": "https:///keys"},
        {"algorithms": ("HS256",)},
        {"algorithms": ("none",)},
        {"algorithms": ()},
        {"audience": ""},
        {"grants": {"x": "root"}},
        {"secret": "x"},
    ],
    ids=str,
)
def test_a_wrong_setting_is_told_at_start(wrong: dict[str, Any]) -> None:
    """Other schemes, symmetric algorithms and no audience are no settings."""
    given = {"issuer": ISSUER, "audience": "a", "jwks_url": "https://id.example.org/keys", "algorithms": ("ES256",)}
    Issuer(**given)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Issuer(**given | wrong)  # type: ignore[arg-type]


def test_the_settings_are_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the environment; two issuers of one name, or of ours, are refused."""
    one = {"issuer": ISSUER, "audience": "a", "jwks_url": "https://id.example.org/keys", "algorithms": ["ES256"]}
    monkeypatch.setenv("OCORE_ISSUERS", json.dumps([one]))
    assert Settings(home=tmp_path).issuers == (Issuer(**one),)
    for many in ([one, one], [one | {"issuer": "ocore"}]):
        monkeypatch.setenv("OCORE_ISSUERS", json.dumps(many))
        with pytest.raises(ValidationError, match="differ"):
            Settings(home=tmp_path)


@pytest.mark.promise("F31", "A11")
def test_a_new_key_is_taken_and_unknown_ones_cost_one_look(tmp_path: Path) -> None:
    """The rotation of an issuer needs nothing here; a flood of names makes no flood of fetches."""
    old, new = Signer("old"), Signer("new")
    with publishing(tmp_path, old) as published:
        with opened(trusting(tmp_path / "home", published, issuers_lifetime=60)) as service:
            service.organization()
            assert asked(service, old.token()) == 200
            published.keys = [old.jwk, new.jwk]
            time.sleep(TIMES["issuers_pause"])
            assert asked(service, new.token()) == asked(service, old.token()) == 200
            assert published.asked == 2
        with opened(trusting(tmp_path / "home", published, issuers_pause=60)) as service:
            assert [asked(service, Signer(f"{number}").token()) for number in range(20)] == [401] * 20
            assert published.asked == 3


# What happens, and what tokens are answered; 503 says that nobody can tell yet.
EXPECTED = {
    "the first 20 tokens at once": "20 x 200",
    "a new key beside the old one: before, the new one, the old one": "3 x 200",
    "the key is withdrawn: before, after the lifetime": "200, 401",
    "50 tokens at once that name keys which are not there": "200, 50 x 401",
    "it goes on failing: before, after the lifetime": "7 x 200",
    "it becomes slow: before, after the lifetime": "7 x 200",
    "it redirects suddenly: before, after the lifetime": "7 x 200",
    "it fails, and comes back with another key": "7 x 200, 401",
    "it fails for longer than keys are kept": "200, 2 x 503",
    "it is dead from the beginning": "503",
    "its certificate is of another authority": "503",
    **{f"it is {mode} from the beginning": "503" for mode in issuers_table.COLD},
}


@pytest.mark.promise("F31")
@pytest.mark.slow
def test_the_table_is_the_expected_one(tmp_path: Path) -> None:
    """Rotation, and a slow, redirecting, huge or dead issuer; few fetches, and no wait without an end."""
    rows = {row.what: row for row in issuers_table.measured(tmp_path)}
    assert {what: row.answers for what, row in rows.items()} == EXPECTED
    assert rows["the first 20 tokens at once"].fetches == 1
    assert rows["50 tokens at once that name keys which are not there"].fetches == 1
