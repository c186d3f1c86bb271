"""Tokens that somebody made who means harm: one table of them, for our own tokens and for each kind of other issuer.

Each case writes a token as an issuer would, with its true key where the case does not say otherwise: so that it is
refused for its fault alone.
"""

from __future__ import annotations

import base64
import concurrent.futures
import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import HMACAlgorithm, get_default_algorithms

from api.parts import TOKEN, keyring
from api.security.tokens import MANAGE
from tests.service.issuer import AUDIENCE, ISSUER, TIMES, Signer, asked, new_key, publishing, trusting
from tests.service.problems import problem
from tests.service.support import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.service.issuer import Published
    from tests.service.support import Service

DAY = 86400
KINDS = ("ours", "RS256", "ES256", "EdDSA")
OTHERS = KINDS[1:]
SIGNERS = {name: Signer(name, name) for name in OTHERS}


def now() -> int:
    """Return the time, anew each time: these tests are read long before they are run, among many others."""
    return int(time.time())


def part(value: Any) -> str:
    """Return a part of a token: of an object, or of text that is to stand there as it is."""
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).rstrip(b"=").decode()


def signature(algorithm: str, key: Any, said: str) -> str:
    """Return a signature in a token's form."""
    found = get_default_algorithms()[algorithm].sign(said.encode(), key)
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode()


@dataclass(frozen=True)
class Issuing:
    """One issuer, and how it writes tokens."""

    kind: str
    algorithm: str
    key: Any
    name: str  # of the key
    claims: dict[str, Any]
    bait: str  # an address that nobody should ask

    @property
    def header(self) -> dict[str, Any]:
        """A proper header."""
        return {"alg": self.algorithm, "typ": "JWT", "kid": self.name}

    @property
    def public(self) -> bytes:
        """The public key, as everybody may have it."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        found: bytes = self.key.public_key().public_bytes(serialization.Encoding.PEM, form)
        return found

    def token(self, header: Any = None, claims: Any = None, *, algorithm: str = "", key: Any = None) -> str:
        """Return a token: proper but for what is given; what is no object stands there as it is."""
        head = header if isinstance(header, str | list) else self.header | (header or {})
        body = claims if isinstance(claims, str | list) else self.claims | (claims or {})
        said = f"{part(head)}.{part(body)}"
        return f"{said}.{signature(algorithm or self.algorithm, key or self.key, said)}"

    def without(self, claim: str) -> str:
        """Return a token without a claim."""
        return self.token(claims=json.dumps({name: value for name, value in self.claims.items() if name != claim}))

    def twice(self, claim: str, value: Any) -> str:
        """Return a token that says a claim twice."""
        return self.token(claims=f"{json.dumps(self.claims)[:-1]}, {json.dumps(claim)}: {json.dumps(value)}}}")

    def head_twice(self, name: str, value: Any) -> str:
        """Return a token whose header says something twice."""
        return self.token(f"{json.dumps(self.header)[:-1]}, {json.dumps(name)}: {json.dumps(value)}}}")

    def symmetric(self, algorithm: str, secret: bytes) -> str:
        """Return a token that is signed with what everybody knows as if it were a secret."""
        said = f"{part(self.header | {'alg': algorithm})}.{part(self.claims)}"
        hashes = {"HS256": HMACAlgorithm.SHA256, "HS384": HMACAlgorithm.SHA384, "HS512": HMACAlgorithm.SHA512}
        found = HMACAlgorithm(hashes[algorithm]).sign(said.encode(), secret)
        return f"{said}.{base64.urlsafe_b64encode(found).rstrip(b'=').decode()}"

    def own_key(self, header: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
        """Return a token of a stranger, whose key its header brings along."""
        stranger = Signer("stranger", self.algorithm)
        return self.token(header(stranger.jwk), key=stranger.key)


OTHER_KEYS = {name: new_key(name) for name in OTHERS}
_NO_END: dict[str, Callable[[], Any]] = {
    "a text": lambda: str(now() + 600),
    "a fraction": lambda: now() + 600.5,
    "infinite": lambda: float("inf"),
    "no number": lambda: float("nan"),
    "of 400 digits": lambda: int("9" * 400),
    "huge": lambda: 2**63,
    "zero": lambda: 0,
    "below zero": lambda: -1,
    "true": lambda: True,
    "null": lambda: None,
    "a list": lambda: [now() + 600],
    "an object": lambda: {"x": 1},
    "in a year and more": lambda: now() + 400 * DAY,
    "over": lambda: now() - 60,
}
_TRAVERSALS = ("../../../../etc/passwd", "/dev/null", "..%2f..", "a\0b", "' OR '1'='1", "x" * 3000, "", " ", "{{ x }}")
_PRESENT = ("iss", "aud", "exp", "sub", "org")
CASES: dict[str, Callable[[Issuing], str]] = {
    # Algorithms.
    **{
        f"alg {name}, unsigned": lambda it, name=name: f"{part(it.header | {'alg': name})}.{part(it.claims)}."
        for name in ("none", "None", "NONE", "nOnE", "")
    },
    "alg none, signed": lambda it: it.token({"alg": "none"}),
    "alg missing": lambda it: it.token(json.dumps({"typ": "JWT", "kid": it.name})),
    "alg null": lambda it: it.token({"alg": None}),
    "alg in a list": lambda it: it.token({"alg": [it.algorithm]}),
    "alg in lower case": lambda it: it.token({"alg": it.algorithm.lower()}),
    **{
        f"{name} with the public key": lambda it, name=name: it.symmetric(name, it.public)
        for name in ("HS256", "HS384", "HS512")
    },
    "HS256 with nothing": lambda it: it.symmetric("HS256", b""),
    "HS256 with the key's name": lambda it: it.symmetric("HS256", it.name.encode()),
    **{
        f"signed by another {name}": lambda it, name=name: it.token({"alg": name}, algorithm=name, key=OTHER_KEYS[name])
        for name in OTHERS
    },
    **{
        f"says {name}": lambda it, name=name: it.token({"alg": name if name != it.algorithm else "RS512"})
        for name in ("RS256", "RS512", "PS256", "ES256", "ES384", "ES256K", "EdDSA", "HS256", "Ed448", "A128KW")
    },
    "another key": lambda it: it.token(key=new_key(it.algorithm)),
    "no signature": lambda it: it.token().rpartition(".")[0] + ".",
    "a signature of zeros": lambda it: it.token().rpartition(".")[0] + "." + "A" * 86,
    "a signature cut by one": lambda it: it.token()[:-2],
    "a signature with more behind it": lambda it: it.token() + "AAAA",
    "the claims of another": lambda it: ".".join(
        [it.token().split(".")[0], part(it.claims | {"org": "two"}), it.token().split(".")[2]]
    ),
    # The header.
    "crit": lambda it: it.token({"crit": ["exp"]}),
    "crit, empty": lambda it: it.token({"crit": []}),
    "crit, of b64": lambda it: it.token({"crit": ["b64"], "b64": False}),
    "b64": lambda it: it.token({"b64": False}),
    "typ of another kind": lambda it: it.token({"typ": "logout+jwt"}),
    "typ in a list": lambda it: it.token({"typ": ["JWT"]}),
    "the key in jwk": lambda it: it.own_key(lambda jwk: {"jwk": jwk}),
    "the key in jwk, unnamed": lambda it: it.own_key(lambda jwk: {"jwk": jwk, "kid": None}),
    "the key behind jku": lambda it: it.own_key(lambda jwk: {"jku": it.bait, "kid": jwk["kid"]}),
    "the key behind jku, by our name": lambda it: it.own_key(lambda _: {"jku": it.bait}),
    "the key behind x5u": lambda it: it.own_key(lambda _: {"x5u": it.bait}),
    "the key in x5c": lambda it: it.own_key(lambda _: {"x5c": [base64.b64encode(it.public).decode()]}),
    "the key behind a file": lambda it: it.own_key(lambda _: {"jku": "file:///etc/passwd"}),
    **{f"kid {name[:12]!r}": lambda it, name=name: it.token({"kid": name}) for name in _TRAVERSALS},
    **{
        f"kid {name}": lambda it, value=value: it.token({"kid": value})
        for name, value in {"null": None, "number": 1, "list": ["x"], "object": {"x": 1}, "true": True}.items()
    },
    "kid in a list": lambda it: it.token({"kid": [it.name]}),
    "kid twice": lambda it: it.head_twice("kid", it.name),
    "alg twice": lambda it: it.head_twice("alg", it.algorithm),
    "alg twice, none at last": lambda it: it.head_twice("alg", "none"),
    "kid twice by an escape": lambda it: it.token(json.dumps(it.header)[:-1] + f', "\\u006bid": "{it.name}"}}'),
    "a header that is a list": lambda it: it.token([]),
    "a header that is a text": lambda it: it.token('"x"'),
    "a header without end": lambda it: it.token("[" * 3000),
    # The claims.
    **{f"no {name}": lambda it, name=name: it.without(name) for name in _PRESENT},
    **{f"{name} null": lambda it, name=name: it.token(claims={name: None}) for name in _PRESENT},
    **{f"exp {name}": lambda it, end=end: it.token(claims={"exp": end()}) for name, end in _NO_END.items()},
    "exp of 5000 digits": lambda it: it.token(claims=json.dumps(it.claims).replace(str(it.claims["exp"]), "9" * 5000)),
    "nbf in the future": lambda it: it.token(claims={"nbf": now() + 600}),
    "nbf a text": lambda it: it.token(claims={"nbf": "soon"}),
    "nbf a number as text": lambda it: it.token(claims={"nbf": str(now() - 60)}),
    "nbf infinite": lambda it: it.token(claims={"nbf": float("inf")}),
    "nbf no number": lambda it: it.token(claims={"nbf": float("nan")}),
    "nbf a list": lambda it: it.token(claims={"nbf": [1]}),
    "iat in the future": lambda it: it.token(claims={"iat": now() + 600}),
    "iat a text": lambda it: it.token(claims={"iat": str(now())}),
    "iat infinite": lambda it: it.token(claims={"iat": float("-inf")}),
    "iat no number": lambda it: it.token(claims={"iat": float("nan")}),
    "iat true": lambda it: it.token(claims={"iat": True}),
    "iat a list": lambda it: it.token(claims={"iat": [now()]}),
    "org twice": lambda it: it.twice("org", "two"),
    "exp twice": lambda it: it.twice("exp", now() + 600),
    "permissions twice": lambda it: it.twice("permissions", [MANAGE]),
    "iss twice": lambda it: it.twice("iss", it.claims["iss"]),
    "iss in a list": lambda it: it.token(claims={"iss": [it.claims["iss"]]}),
    "iss with a slash more": lambda it: it.token(claims={"iss": it.claims["iss"] + "/"}),
    "iss in capitals": lambda it: it.token(claims={"iss": it.claims["iss"].upper()}),
    "aud of others": lambda it: it.token(claims={"aud": ["a", "b"]}),
    "aud empty": lambda it: it.token(claims={"aud": []}),
    "aud an object": lambda it: it.token(claims={"aud": {it.claims["aud"]: 1}}),
    "aud the beginning of ours": lambda it: it.token(claims={"aud": it.claims["aud"][:-1]}),
    "org an object": lambda it: it.token(claims={"org": {"$ne": ""}}),
    "org a list": lambda it: it.token(claims={"org": [it.claims["org"]]}),
    "org a path": lambda it: it.token(claims={"org": "../" + it.claims["org"]}),
    "org with a NUL": lambda it: it.token(claims={"org": it.claims["org"] + "\0"}),
    "org with a blank": lambda it: it.token(claims={"org": it.claims["org"] + " "}),
    "org half a character": lambda it: it.token(claims={"org": "\ud800"}),
    "sub half a character": lambda it: it.token(claims={"sub": "\ud800"}),
    "sub with a line break": lambda it: it.token(claims={"sub": "a\nb"}),
    "sub of a kilobyte": lambda it: it.token(claims={"sub": "x" * 1024}),
    "permissions an object": lambda it: it.token(claims={"permissions": {MANAGE: True}}),
    "permissions of lists": lambda it: it.token(claims={"permissions": [[MANAGE]]}),
    "claims that are a list": lambda it: it.token(claims=[]),
    "claims that are a text": lambda it: it.token(claims='"x"'),
    "claims without end": lambda it: it.token(claims="[" * 3000),
    # As a whole.
    "of 5 MB": lambda it: it.token(claims={"x": "x" * 5_000_000}),
    "of 9 KiB": lambda it: it.token(claims={"x": "x" * 9_000}),
    "two parts": lambda it: it.token().rpartition(".")[0],
    "four parts": lambda it: it.token() + ".x",
    "encrypted, by its form": lambda it: it.token() + "..",
    "dots alone": lambda _: "..",
    "in JSON": lambda it: json.dumps({"protected": part(it.header), "payload": part(it.claims), "signature": "x"}),
    "with blanks within": lambda it: it.token().replace(".", ". "),
    "in base64 with other signs": lambda it: it.token() + "==",
    "not ASCII": lambda it: it.token()[:-1] + "\xfc",
}  # fmt: skip
# What a header says beside, of a token that is good: nobody reads it.
PASSED_OVER: dict[str, dict[str, Any]] = {
    "jku": {"jku": "@bait@"},
    "x5u": {"x5u": "@bait@"},
    "jwk": {"jwk": Signer("stranger").jwk},
    "x5c": {"x5c": ["AAAA"]},
    "cty": {"cty": "JWT"},
    "something": {"something": {"x": ["y"]}},
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Return an issuer with a key of each kind."""
    with publishing(tmp_path_factory.mktemp("issuer"), *SIGNERS.values()) as found:
        yield found


@pytest.fixture(scope="module")
def bait(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Return a server with keys of strangers, whose certificate is as good as the issuer's."""
    with publishing(tmp_path_factory.mktemp("bait"), Signer("stranger")) as found:
        yield found


@pytest.fixture(scope="module")
def service(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a service that takes the issuer's tokens, with keys that do not grow old meanwhile."""
    slow = {"issuers_lifetime": 300, "issuers_pause": 300, "issuers_timeout": 10}
    with opened(trusting(tmp_path_factory.mktemp("home"), published, **slow)) as found:
        found.organization("one")
        found.organization("two")
        yield found


@pytest.fixture(scope="module", params=KINDS)
def issuing(request: pytest.FixtureRequest, service: Service, bait: Published) -> Issuing:
    """Return each issuer: our own service, and one with each algorithm."""
    said = {"sub": "alice", "iat": now(), "exp": now() + 3600, "permissions": [MANAGE], "jti": "j"}
    if request.param == "ours":
        ring = keyring(service.settings, TOKEN).ring()
        key = Ed25519PrivateKey.from_private_bytes(ring.keys[ring.active])
        said |= {"iss": "ocore", "aud": "ocore-api", "org": service.organization("one")}
        return Issuing("ours", "EdDSA", key, ring.active, said, bait.url)
    signer = SIGNERS[request.param]
    said |= {"iss": ISSUER, "aud": AUDIENCE, "org": "one"}
    return Issuing(request.param, signer.algorithm, signer.key, signer.name, said, bait.url)


@pytest.mark.promise("A11")
def test_a_token_of_the_corpus_is_a_401(
    service: Service, issuing: Issuing, bait: Published, record_property: Callable[..., None]
) -> None:
    """Each of them, with the same words for all; nobody is asked for a key that a token names."""
    assert asked(service, issuing.token()) == 200
    words = set()
    for what, make in CASES.items():
        token = make(issuing)
        sent = {"Authorization": b"Bearer " + token.encode("latin-1")}
        answer = service.call("GET", "/api/servers", token="", headers=sent)
        assert answer.status_code == 401, what
        told = problem(answer, 401, "unauthorized")
        words.add((told["detail"], told["title"], answer.headers["WWW-Authenticate"].partition(",")[0]))
    assert len(words) == 1
    assert bait.asked == 0
    record_property("runs", len(CASES))


@pytest.mark.promise("A11")
@pytest.mark.parametrize("what", PASSED_OVER)
def test_what_a_header_says_of_keys_is_passed_over(
    service: Service, issuing: Issuing, bait: Published, what: str
) -> None:
    """A good token stays one, and nobody asks where it says that keys are."""
    header = json.loads(json.dumps(PASSED_OVER[what]).replace("@bait@", bait.url))
    assert asked(service, issuing.token(header)) == 200
    assert bait.asked == 0


@pytest.mark.promise("A11")
def test_an_issuer_cannot_speak_as_another(service: Service, published: Published) -> None:
    """Our key makes no token of theirs, theirs none of ours, nor of each other's."""
    ring = keyring(service.settings, TOKEN).ring()
    ours = Ed25519PrivateKey.from_private_bytes(ring.keys[ring.active])
    theirs = SIGNERS["EdDSA"]
    claims = {"sub": "a", "iat": now(), "exp": now() + 600, "permissions": [MANAGE], "jti": "j"}
    as_theirs = claims | {"iss": ISSUER, "aud": AUDIENCE, "org": "one"}
    as_ours = claims | {"iss": "ocore", "aud": "ocore-api", "org": service.organization("one")}
    for said in (as_theirs, as_ours):
        for key, owner in ((ours, theirs.key), (theirs.key, ours)):
            for name in (theirs.name, ring.active):
                right = (said is as_theirs, key is theirs.key, name == theirs.name)
                token = Issuing("", "EdDSA", key, name, said, "").token()
                wanted = 200 if len(set(right)) == 1 else 401
                assert asked(service, token) == wanted, (right, owner)
    assert published.asked == 1


@pytest.mark.promise("A11", "F31")
@pytest.mark.parametrize("count", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_a_flood_of_unknown_keys_holds_nobody_up(
    tmp_path_factory: pytest.TempPathFactory, count: int, record_property: Callable[..., None]
) -> None:
    """While tokens come that name keys which are not there, good ones are taken; the issuer is asked twice at most."""
    signer, stranger = Signer("known"), Signer("stranger")
    folder = tmp_path_factory.mktemp("flood")
    with (
        publishing(folder, signer) as published,
        opened(trusting(folder / "home", published, issuers_lifetime=300, issuers_pause=300)) as service,
    ):
        service.organization()
        assert asked(service, signer.token()) == 200
        good: list[int] = []
        over = threading.Event()

        def go_on() -> None:
            while not over.is_set():
                good.append(asked(service, signer.token()))

        thread = threading.Thread(target=go_on)
        thread.start()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            names = [{"kid": f"unknown-{number}"} for number in range(count)]
            codes = list(pool.map(lambda header: asked(service, stranger.token(header)), names))
        over.set()
        thread.join()
        assert codes == [401] * count
        assert good
        assert set(good) == {200}
        assert published.asked <= 2
    record_property("runs", count)


@pytest.mark.promise("A11", "F31")
@pytest.mark.parametrize("first", [False, True], ids=["suddenly", "from the beginning"])
def test_keys_that_are_elsewhere_are_not_fetched(tmp_path_factory: pytest.TempPathFactory, *, first: bool) -> None:
    """An issuer's server that redirects is followed nowhere: the last good keys count, or there are none."""
    signer = Signer("known")
    folder = tmp_path_factory.mktemp("redirected")
    with publishing(folder, signer) as published, opened(trusting(folder / "home", published)) as service:
        service.organization()
        assert first or asked(service, signer.token()) == 200
        published.mode = "redirecting"
        time.sleep(TIMES["issuers_lifetime"] + 0.1)
        assert asked(service, signer.token()) == (503 if first else 200)
        assert asked(service, service.token()) == 200
        assert "/elsewhere" not in published.paths
        assert published.asked == (1 if first else 2)


def test_a_case_would_be_taken_but_for_its_fault(service: Service, issuing: Issuing) -> None:
    """The table's own way of writing tokens gives good ones, also from text, and with other good claims."""
    for token in (
        issuing.token(json.dumps(issuing.header), json.dumps(issuing.claims)),
        issuing.token(claims={"nbf": now() - 60}),
        issuing.token(claims={"aud": ["other", issuing.claims["aud"]]}),
    ):
        assert asked(service, token) == 200
    assert jwt.decode(issuing.token(), options={"verify_signature": False}) == issuing.claims
