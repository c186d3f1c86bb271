"""Clients that go on asking while something is broken, and keep how each request was answered."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import httpx2

from tests.faults.played import body

if TYPE_CHECKING:
    from tests.e2e.served import Client

GONE: Final = 0  # in the place of a status: nobody listened, or the connection was closed
_SECONDS: Final = 120.0
_UNAVAILABLE: Final = 503
_METHODS: Final = ("GET", "PUT", "POST")


@dataclass(frozen=True, slots=True)
class Answer:
    """How one request was answered.

    Attributes:
        what: the method and the path.
        began: when it was made, by the monotonic clock.
        seconds: how long it took.
        status: the answer's; `GONE` where there was none.
        retry: what its `Retry-After` says.
        text: what it says.

    """

    what: str
    began: float
    seconds: float
    status: int
    retry: str
    text: str

    @property
    def allowed(self) -> bool:
        """Whether it is an answer, and one that a client can do something with.

        That is none of 500 and above but "unavailable, come again".
        """
        return 0 < self.status < 500 or (self.status == _UNAVAILABLE and self.retry.isdecimal())


class Crowd:
    """Threads that read, change and create, each again and again.

    Attributes:
        answers: what they were answered.
        created: the servers whose creation was answered with 201.

    """

    def __init__(self, client: Client, server: str, threads: int = 6, *, pause: float = 0.1) -> None:
        self.answers: list[Answer] = []
        self.created: list[str] = []
        self._server = server
        self._client = client
        self._pause = pause
        self._urls = itertools.cycle(client.served.urls())
        self._names = itertools.count(1)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, after the answers that are still to come."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def since(self, moment: float) -> list[Answer]:
        """Return what was asked after a moment."""
        return [one for one in self.answers if one.began >= moment]

    def recovered(self, moment: float) -> float | None:
        """Return how long after a moment everything was answered well again; None as long as it is not."""
        first: dict[str, float] = {}
        for one in list(self.answers):
            after = one.began + one.seconds - moment
            if one.status < 300 and after > 0:
                first.setdefault(one.what.partition(" ")[0], after)
        return max(first.values()) if len(first) == len(_METHODS) else None

    def _ask(self) -> None:
        headers = {"Authorization": f"Bearer {self._client.token}"}
        one = f"/api/servers/{self._server}"
        with httpx2.Client(base_url=next(self._urls), headers=headers, timeout=_SECONDS) as http:
            for number in itertools.count():
                if self._stopping.wait(self._pause):
                    return
                self._request(http, "GET", one)
                self._request(http, "PUT", one, json={"description": str(number)})
                self._request(http, "GET", "/api/servers")
                if number % 10 == 0:
                    # Refused by nobody: an address that is a server's of its own, and that a recording answers for.
                    made = body(f"crowd-{next(self._names)}.example")
                    self._request(http, "POST", "/api/servers", json=made)

    def _request(self, http: httpx2.Client, method: str, path: str, **what: object) -> None:
        began = time.monotonic()
        try:
            answer = http.request(method, path, **what)  # type: ignore[arg-type]
        except httpx2.TransportError as error:
            found = GONE, "", repr(error)
        else:
            found = answer.status_code, answer.headers.get("Retry-After", ""), answer.text[:300]
            if answer.status_code == 201:
                self.created.append(answer.json()["id"])
        self.answers.append(Answer(f"{method} {path}", began, time.monotonic() - began, *found))
