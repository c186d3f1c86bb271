"""What happens to tokens of another issuer when its keys change, or its server is slow, huge, elsewhere or dead.

`python -m tests.service.issuers_table` prints the table; test_issuers.py compares it with what is expected.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import structlog

from tests.service.issuer import TIMES, Published, Signer, asked, publishing, trusting
from tests.service.storages import free_port
from tests.service.support import Service, opened, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

COLD = (
    "failing",
    "no JSON",
    "saying a name twice",
    "naming two keys alike",
    "of too many keys",
    "huge",
    "huge by its own word",
    "redirecting",
    "dripping",
    "dripping its head",
    "silent",
)
_OLD = TIMES["issuers_lifetime"] + 0.1
# What an answer takes by itself on a busy machine, in seconds.
_BUSY = 2.0


@dataclass(frozen=True)
class Row:
    """One thing that happened, and how tokens fared."""

    what: str
    answers: str
    fetches: int
    seconds: float


@dataclass
class _Case:
    """One service with one issuer."""

    service: Service
    published: Published
    signer: Signer

    def many(self, count: int, token: Callable[[int], str]) -> list[int]:
        """Return what tokens are answered that come at once."""
        codes: list[int] = []
        self.service.organization()
        threads = [
            threading.Thread(target=lambda number=number: codes.append(asked(self.service, token(number))))
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return codes

    def good(self) -> int:
        """Return what the issuer's own token is answered."""
        return asked(self.service, self.signer.token())


def _first(case: _Case) -> list[int]:
    return case.many(20, lambda _: case.signer.token())


def _rotated(case: _Case) -> list[int]:
    before = case.good()
    other = Signer("new")
    case.published.keys = [case.signer.jwk, other.jwk]
    time.sleep(TIMES["issuers_pause"])
    return [before, asked(case.service, other.token()), case.good()]


def _withdrawn(case: _Case) -> list[int]:
    before = case.good()
    case.published.keys = [Signer("new").jwk]
    time.sleep(_OLD)
    return [before, case.good()]


def _flooded(case: _Case) -> list[int]:
    before = case.good()
    return [before, *case.many(50, lambda number: Signer(f"unknown-{number}").token())]


def _in_time(case: _Case) -> int:
    """Return what a good token is answered; nobody may wait much longer than keys may take to be fetched."""
    began = time.monotonic()
    code = case.good()
    assert time.monotonic() - began < TIMES["issuers_timeout"] + 1 + _BUSY
    return code


def _late(mode: str) -> Callable[[_Case], list[int]]:
    def happen(case: _Case) -> list[int]:
        before = case.good()
        case.published.mode = mode
        time.sleep(_OLD)
        first = _in_time(case)
        later, waited = list[int](), list[float]()
        for _ in range(5):
            began = time.monotonic()
            later.append(_in_time(case))
            waited.append(time.monotonic() - began)
        assert median(waited) < TIMES["issuers_timeout"], "who asks waits for an issuer that is known to be away"
        return [before, first, *later]

    return happen


def _back(case: _Case) -> list[int]:
    codes = _late("failing")(case)
    other = Signer("new")
    case.published.keys, case.published.mode = [other.jwk], "well"
    time.sleep(TIMES["issuers_pause"])
    case.good()
    wait_for(lambda: asked(case.service, other.token()) == 200, "the new key is taken")
    return [*codes, case.good()]


def _cold(mode: str) -> Callable[[_Case], list[int]]:
    def happen(case: _Case) -> list[int]:
        case.published.mode = mode
        codes = [_in_time(case)]
        assert asked(case.service, case.service.token()) == 200, "our own tokens are taken meanwhile"
        return codes

    return happen


def _told(codes: list[int]) -> str:
    """Return codes with how many of each came in a row."""
    found: list[list[int]] = []
    for code in codes:
        if found and found[-1][0] == code:
            found[-1][1] += 1
        else:
            found.append([code, 1])
    return ", ".join(str(code) if count == 1 else f"{count} x {code}" for code, count in found)


def happened(folder: Path, what: str, happen: Callable[[_Case], list[int]], **settings: Any) -> Row:
    """Return what came of one thing that happens."""
    signer = Signer("first")
    with publishing(folder, signer) as published:
        issuer = settings.pop("issuer", None)
        with opened(trusting(folder / "home", published, issuer, **settings)) as service:
            service.organization()
            began = time.monotonic()
            codes = happen(_Case(service, published, signer))
            seconds = time.monotonic() - began
    assert "/elsewhere" not in published.paths
    assert published.sent < 5_000_000
    return Row(what, _told(codes), published.asked, round(seconds, 1))


def measured(folder: Path) -> list[Row]:
    """Return the table."""
    nowhere = {"jwks_url": f"https://127.0.0.1:{free_port()}/keys"}
    cases: list[tuple[str, Callable[[_Case], list[int]], dict[str, Any]]] = [
        ("the first 20 tokens at once", _first, {}),
        ("a new key beside the old one: before, the new one, the old one", _rotated, {}),
        ("the key is withdrawn: before, after the lifetime", _withdrawn, {}),
        ("50 tokens at once that name keys which are not there", _flooded, {"issuers_pause": 30}),
        ("it goes on failing: before, after the lifetime", _late("failing"), {}),
        ("it becomes slow: before, after the lifetime", _late("dripping"), {}),
        ("it redirects suddenly: before, after the lifetime", _late("redirecting"), {}),
        ("it fails, and comes back with another key", _back, {}),
        ("it fails for longer than keys are kept", _gone, {"issuers_keep_hours": 1.5 / 3600}),
        ("it is dead from the beginning", _cold("well"), {"issuer": nowhere}),
        ("its certificate is of another authority", _cold("well"), {"issuers_ca_file": None}),
        *[(f"it is {mode} from the beginning", _cold(mode), {}) for mode in COLD],
    ]
    return [happened(folder / str(number), *case[:2], **case[2]) for number, case in enumerate(cases)]


def _gone(case: _Case) -> list[int]:
    before = case.good()
    case.published.mode = "failing"
    time.sleep(2)
    first = case.good()
    return [before, first, case.good()]


def markdown(rows: list[Row]) -> str:
    """Return the table as Markdown."""
    lines = ["| what happened | answers | fetches | seconds |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.answers} | {row.fetches} | {row.seconds} |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        print(markdown(measured(Path(folder))))  # noqa: T201 - for this it is run


if __name__ == "__main__":
    main()
