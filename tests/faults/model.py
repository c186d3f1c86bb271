"""What API.md and ARCHITECTURE.md say of servers and runs, in as few lines as will hold it: no database, no threads.

It is written from those pages and not from the service, so that one can be wrong without the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

Kind = Literal["provision", "validate", "drift", "cleanup"]
MOST_ATTEMPTS: Final = 3
ENDED: Final = frozenset({"succeeded", "failed", "cancelled"})
# Runs that say how the server stands; the other two leave that as it is.
TELLING: Final = frozenset({"provision", "validate"})


@dataclass
class Run:
    """One run."""

    kind: Kind
    generation: int
    state: str = "queued"
    fence: int = 0
    attempt: int = 0
    reason: str = ""  # why it is to stop


@dataclass
class Server:
    """One server; `status` has "at work" for both that say so."""

    status: str = "pending"
    generation: int = 1
    epoch: int = 0
    pinned: bool = False
    provisioned: bool = False
    gone: bool = False
    secret: bool = True
    runs: list[Run] = field(default_factory=list)

    def of(self, state: str) -> Run | None:
        """Return its run in a state of which there is one at most."""
        return next((run for run in self.runs if run.state == state), None)


@dataclass(frozen=True)
class Held:
    """What a worker has in its hand: a run as it was when it was taken."""

    server: int
    run: int
    fence: int
    generation: int
    epoch: int


class Model:
    """Servers and their runs; each method is what somebody does, and returns what is answered."""

    def __init__(self) -> None:
        self.servers: list[Server] = []
        self._order: list[tuple[int, int]] = []  # in which runs were queued

    # --- requests -----------------------------------------------------------------------------------------------------

    def create(self) -> str:
        """Create a server, and queue its first run."""
        self.servers.append(Server())
        self._queue(len(self.servers) - 1, "provision")
        return "201"

    def put(self, at: int, *, connection: bool) -> str:
        """Change a server."""
        server = self.servers[at]
        if (refused := self._refused(server)) or not connection:
            return refused or "200"
        server.generation += 1
        self._ask_to_stop(server, "superseded")
        server.status = "pending"
        self._queue(at, "provision")
        return "200"

    def retry(self, at: int) -> str:
        """Try a server again."""
        server = self.servers[at]
        if refused := self._refused(server):
            return refused
        if server.status == "at work":
            return "409 busy"
        if server.status not in {"pending", "error"}:
            return "409 not_failed"
        if server.status == "error" or server.of("queued") is None:
            server.status = "pending"
            self._queue(at, "provision")
        return "200"

    def run(self, at: int, kind: Kind) -> str:
        """Ask for a run."""
        server = self.servers[at]
        if refused := self._refused(server):
            return refused
        ending = server.status == "pending" and server.of("running") is not None
        if server.of("queued") is not None or server.status == "at work" or ending:
            return "409 busy"
        self._queue(at, kind)
        return "202"

    def cancel(self, at: int, which: int) -> str:
        """Cancel a run."""
        server = self.servers[at]
        if server.gone:
            return "404 not_found"
        run = server.runs[which]
        if run.kind == "cleanup":
            return "409 not_cancellable"
        if run.state in ENDED:
            return "409 run_ended"
        if run.state == "running":
            run.reason = run.reason or "cancelled"
            return "202"
        run.state = "cancelled"
        going = server.of("running")
        tells = going is not None and going.kind in TELLING and going.generation == server.generation
        if run.kind != "drift" and not tells and server.status in {"pending", "at work"}:
            server.status = "error"
        return "202"

    def reset(self, at: int) -> str:
        """Clear the pin."""
        server = self.servers[at]
        if refused := self._refused(server):
            return refused
        server.epoch += 1
        server.pinned = False
        return "200"

    def delete(self, at: int) -> str:
        """Remove a server."""
        server = self.servers[at]
        if server.gone:
            return "404 not_found"
        if server.status != "removing":
            server.generation += 1
            self._ask_to_stop(server, "removed")
            server.status = "removing"
            self._queue(at, "cleanup")
        return "202"

    # --- workers ------------------------------------------------------------------------------------------------------

    def claim(self) -> Held | None:
        """Take the run that has waited for the longest, of a server with none that goes on."""
        for at, which in self._order:
            server = self.servers[at]
            run = server.runs[which]
            if server.gone or run.state != "queued" or server.of("running") is not None:
                continue
            run.state, run.reason = "running", ""
            run.fence += 1
            run.attempt += 1
            if run.kind in TELLING:
                server.status = "at work"
            return Held(at, which, run.fence, server.generation, server.epoch)
        return None

    def holds(self, held: Held) -> bool:
        """Tell whether a worker's run is still its own."""
        server = self.servers[held.server]
        run = server.runs[held.run]
        return not server.gone and run.state == "running" and run.fence == held.fence

    def pin(self, held: Held) -> str:
        """See a host key."""
        server = self.servers[held.server]
        if not self.holds(held):
            return "fenced"
        if server.generation != server.runs[held.run].generation:
            return "overtaken"
        if server.epoch == held.epoch:
            server.pinned = True
        return "written"

    def finish(self, held: Held, how: Literal["well", "badly"]) -> bool:
        """End a run: as it went, or as it was asked to."""
        if not self.holds(held):
            return False
        server = self.servers[held.server]
        run = server.runs[held.run]
        run.state = "succeeded" if how == "well" else "failed"
        if run.kind == "cleanup":
            self._forget(server)
        elif run.kind in TELLING and server.generation == run.generation:
            self._tell(held.server, run, how)
        return True

    def stop(self, held: Held) -> bool:
        """End a run whose end somebody wanted."""
        if not self.holds(held):
            return False
        server = self.servers[held.server]
        run = server.runs[held.run]
        run.state = "cancelled"
        if run.kind in TELLING and server.generation == run.generation:
            self._fail(server, run)
        return True

    def lose(self, held: Held) -> None:
        """Take a run from a worker that is gone."""
        server = self.servers[held.server]
        run = server.runs[held.run]
        run.fence += 1
        current = run.kind in TELLING and server.generation == run.generation
        if run.attempt >= MOST_ATTEMPTS:
            run.state = "failed"
            if current:
                self._fail(server, run)
            if run.kind == "cleanup":
                self._forget(server)
        elif run.reason or server.of("queued") is not None:
            run.state = "cancelled"
            if current and run.reason == "cancelled":
                self._fail(server, run)
            elif current:
                server.status = "pending"
        else:
            run.state = "queued"
            if current:
                server.status = "pending"

    # --- how ----------------------------------------------------------------------------------------------------------

    def _refused(self, server: Server) -> str:
        return "404 not_found" if server.gone else "409 removing" if server.status == "removing" else ""

    def _ask_to_stop(self, server: Server, reason: str) -> None:
        if (running := server.of("running")) is not None:
            running.reason = reason

    def _queue(self, at: int, kind: Kind) -> None:
        server = self.servers[at]
        if (waiting := server.of("queued")) is not None:
            waiting.state = "cancelled"
        server.runs.append(Run(kind, server.generation))
        self._order.append((at, len(server.runs) - 1))

    def _tell(self, at: int, run: Run, how: str) -> None:
        server = self.servers[at]
        if how == "badly":
            self._fail(server, run)
        elif run.kind == "provision" or server.provisioned:
            server.provisioned, server.status = True, "active"
        else:
            server.status = "pending"
            if server.of("queued") is None:
                self._queue(at, "provision")

    def _fail(self, server: Server, run: Run) -> None:
        server.status = "error"
        server.provisioned = server.provisioned and run.kind != "provision"

    def _forget(self, server: Server) -> None:
        server.gone, server.secret = True, False

    # --- what must always be so ---------------------------------------------------------------------------------------

    def snapshot(self) -> list[Server]:
        """Return the servers as they are now."""
        return [replace(one, runs=[replace(run) for run in one.runs]) for one in self.servers]


def check(before: list[Server], after: list[Server]) -> None:
    """Check what holds whatever was done, of the model as of what the database says."""
    for one in after:
        active = [run for run in one.runs if run.state == "running"]
        assert len(active) <= 1, "two runs of one server go on"
        assert len([run for run in one.runs if run.state == "queued"]) <= 1, "two runs of one server wait"
        assert not one.gone or not one.secret, "a secret outlived its server"
        assert one.gone or all(run.generation <= one.generation for run in one.runs)
    for old, new in zip(before, after, strict=False):
        assert not old.gone or new.gone, "what was gone is there again"
        assert new.gone or new.generation >= old.generation
        assert new.gone or new.epoch >= old.epoch
        assert old.status != "removing" or new.gone or new.status == "removing", "a removal was taken back"
        for was, run in zip(old.runs, new.runs, strict=False):
            assert run.fence >= was.fence, "a fencing number went back"
            assert was.state not in ENDED or run.state == was.state, "a run that had ended goes on"
