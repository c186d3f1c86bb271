"""One command's arguments as values, and a run with progress and signals around it."""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ocore import pins
from ocore.cli import login
from ocore.cli.options import parse_options
from ocore.cli.show.live import LiveProgress
from ocore.cli.show.progress import JsonProgress, PlainProgress
from ocore.cli.stopping import stopping
from ocore.cli.target import Target, parse_target
from ocore.cli.trust import KeyTrust
from ocore.models import Server

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from ocore.cli.door import Door
    from ocore.cli.login import Ask
    from ocore.cli.show.progress import Progress
    from ocore.cli.show.screen import Screen

Result = TypeVar("Result")


class Session:
    """The arguments of one command, and what it needs to carry them out."""

    def __init__(self, arguments: Namespace, *, screen: Screen, door: Door, ask: Ask) -> None:
        self.arguments = arguments
        self.screen = screen
        self.door = door
        self._ask = ask

    @cached_property
    def target(self) -> Target:
        """The server's user, host and port."""
        return parse_target(self.arguments.target)

    @cached_property
    def pins(self) -> pins.Pins:
        """The pinned host keys."""
        given = self.arguments.state_dir
        return pins.Pins(Path(given) if given else pins.state_directory())

    def trust(self) -> KeyTrust:
        """Return what is known of the server's host key."""
        return KeyTrust(self.pins, self.target, self.arguments.host_key)

    def run(self, call: Callable[..., Result], *, shown: Sequence[str] = (), **extra: Any) -> Result:
        """Call one of the door's functions; `shown` are the steps that are known to come."""
        options, trust = parse_options(self.arguments), self.trust()
        server = self._server(trust)
        if self.arguments.timeout is not None:
            extra["timeout"] = self.arguments.timeout
        cancel = threading.Event()
        with self._progress(trust, shown) as progress, stopping(cancel, progress.stopping):
            return call(server, options, recorder=progress, cancel=cancel, **extra)

    def _server(self, trust: KeyTrust) -> Server:
        target = self.target
        return Server(
            host=target.host,
            port=target.port,
            user=target.user,
            host_key=trust.host_key,
            expected_fingerprint=trust.fingerprint,
            id=self.arguments.id,
            # Last: nobody is asked for a password before everything else is known to be right.
            credentials=login.credentials(self.arguments, self._ask),
        )

    def _progress(self, trust: KeyTrust, shown: Sequence[str]) -> Progress:
        if self.screen.as_json:
            return JsonProgress(self.screen, trust)
        return LiveProgress(self.screen, trust, shown) if self.screen.live else PlainProgress(self.screen, trust)
