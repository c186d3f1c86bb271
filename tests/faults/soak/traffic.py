"""What is asked of the service meanwhile: requests, heartbeats and runs, each at its own pace."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx2

    from tests.faults.soak.crowd import Tenant

# A run of each kind in turn; the last one does one step in any case.
RUNS: Final[tuple[dict[str, Any], ...]] = (
    {"kind": "validate"},
    {"kind": "provision"},
    {"kind": "drift"},
    {"kind": "provision", "steps": ["packages"], "force": True},
)
_RUN_SECONDS: Final = 600.0


class Traffic:
    """Threads that ask, each of which waits between two requests; what came of it is kept."""

    def __init__(self, tenants: Sequence[Tenant], agents: Sequence[str], seed: str) -> None:
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        self.wrong: list[str] = []
        self.runs: Counter[str] = Counter()
        self._tenants = tenants
        self._agents = agents
        self._chance = random.Random(seed)  # noqa: S311 - a seed makes it again
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._done: Counter[str] = Counter()

    def start(self, requests: float, heartbeats: float, pause: float) -> None:
        """Begin: so many requests and heartbeats a second, and so many seconds between two runs."""
        requesting = itertools.cycle([(tenant, tenant.client.http()) for tenant in self._tenants])
        self._repeat("requests", 1 / requests, lambda: self._request(*next(requesting)))
        http, tokens = self._tenants[0].client.http(), itertools.cycle(self._agents)
        self._repeat("heartbeats", 1 / heartbeats, lambda: self._beat(http, next(tokens)))
        turns = zip(itertools.cycle(self._tenants), itertools.count())
        self._repeat("runs", pause, lambda: self._run(*next(turns)))

    def stop(self) -> None:
        """End, with what is under way, and see that each of the threads has done something to its end."""
        self._stop.set()
        until = time.monotonic() + _RUN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                self.wrong.append(f"{thread.name}: waiting without an end")
            if not self._done[thread.name]:
                self.wrong.append(f"{thread.name}: nothing was done")

    def told(self) -> str:
        """Say in one line how far it is."""
        asked = sum(len(times) for times in list(self.times.values()))
        return f"{asked} requests, {self.runs.total()} runs, {len(self.wrong)} wrong"

    def _repeat(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        def repeat() -> None:
            due = time.monotonic()
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                # Who was held up does not hurry afterwards.
                due = max(due, time.monotonic() - seconds) + seconds
                try:
                    act()
                    self._done[name] += 1
                except Exception as error:  # noqa: BLE001 - whatever it is, it is told in the end
                    self.wrong.append(f"{name}: {error!r}")

        self._threads.append(threading.Thread(target=repeat, name=name, daemon=True))
        self._threads[-1].start()

    def _ask(self, http: httpx2.Client, name: str, path: str, status: int = 200, **what: Any) -> None:
        method = name.partition(" ")[0]
        began = time.monotonic()
        answer = http.request(method, path, **what)
        self.times[name].append(time.monotonic() - began)
        if answer.status_code != status:
            self.wrong.append(f"{name}: {answer.status_code} {answer.json().get('detail')}")

    def _request(self, tenant: Tenant, http: httpx2.Client) -> None:
        """Make one request, as somebody at a screen would."""
        one, real = (f"/api/servers/{name}" for name in (self._chance.choice(tenant.servers), tenant.server))
        name, path, what = self._chance.choice(
            (
                ("GET servers", "/api/servers", {}),
                ("GET servers?limit", "/api/servers?limit=20&status=active", {}),
                ("GET server", one, {}),
                ("GET capacity", f"{one}/capacity", {}),
                ("GET metrics", f"{one}/metrics?period=1h", {}),
                ("GET logs", f"{real}/provisioning-logs", {}),
                ("GET runs", f"{real}/runs?limit=20", {}),
                ("GET receipts", f"{real}/receipts?limit=20", {}),
                ("GET audit", "/api/audit?limit=50", {}),
                ("PUT server", real, {"json": {"description": f"seen by {self._chance.random()}"}}),
            )
        )
        self._ask(http, name, path, **what)

    def _beat(self, http: httpx2.Client, token: str) -> None:
        """Speak for an agent."""
        told = {"version": "0.1.0", "load": round(self._chance.uniform(0, 4), 2), "docker": "running"}
        told |= {"memoryTotalBytes": 2**33, "memoryAvailableBytes": self._chance.randrange(2**33)}
        told |= {"diskTotalBytes": 2**37, "diskFreeBytes": self._chance.randrange(2**37), "uptimeSeconds": 4711}
        headers = {"Authorization": f"Bearer {token}"}
        self._ask(http, "POST heartbeat", "/api/agent/heartbeat", 204, json=told, headers=headers)

    def _run(self, tenant: Tenant, number: int) -> None:
        """Make a run on a real host, and follow its events to the end."""
        wanted = RUNS[number // len(self._tenants) % len(RUNS)]
        run = tenant.client.ask(tenant.server, **wanted)["id"]
        began = time.monotonic()
        numbers = [event.number for event in tenant.client.follow(run)]
        ended = tenant.client.ended(run, _RUN_SECONDS)
        name = f"run {wanted['kind']}" + (" by force" if wanted.get("force") else "")
        self.times[name].append(time.monotonic() - began)
        self.runs[f"{name}: {ended['state']} {ended['errorCode']}".strip()] += 1
        if ended["state"] != "succeeded" or numbers != sorted(set(numbers)):
            self.wrong.append(f"{name}: {ended}")
