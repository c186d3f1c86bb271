"""One command's arguments as values, and a run with progress and signals around it."""

from __future__ import annotations

import dataclasses
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ocore.cli import login, pins
from ocore.cli.options import parse_options
from ocore.cli.show.progress import JsonProgress, PlainProgress, QuietProgress
from ocore.cli.stopping import stopping
from ocore.cli.target import Target, parse_target
from ocore.cli.trust import KeyTrust
from ocore.models import Credentials, Server
from ocore.site import chosen_steps

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from ocore.cli.door import Door
    from ocore.cli.login import Ask
    from ocore.cli.show.progress import Progress
    from ocore.cli.show.screen import Screen

Result = TypeVar("Result")

# A server must name a way to log in.
_NO_LOGIN: Final = Credentials(password="never sent")  # noqa: S106 - nothing is contacted with it


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

    @property
    def pinned_place(self) -> str:
        """Where a pin is what the host key was compared with: HOST:PORT; empty where the key was given."""
        return "" if self.arguments.host_key else self.target.place

    @cached_property
    def pins(self) -> pins.Pins:
        """The pinned host keys."""
        given = self.arguments.state_dir
        return pins.Pins(Path(given) if given else pins.state_directory())

    def trust(self) -> KeyTrust:
        """Return what is known of the server's host key."""
        return KeyTrust(self.pins, self.target, self.arguments.host_key)

    def run(self, call: Callable[..., Result], *, shown: Sequence[str], **extra: Any) -> Result:
        """Call one of the door's functions and show its progress; `shown` are the steps that are known to come."""
        return self._call(call, self._progress(shown), extra)

    def read(self, call: Callable[..., Result], **extra: Any) -> Result:
        """Call one of the door's functions for the sake of what it returns."""
        return self._call(call, self._progress((), QuietProgress), extra)

    def _call(self, call: Callable[..., Result], progress: Progress, extra: dict[str, Any]) -> Result:
        options = parse_options(self.arguments)
        chosen_steps(extra.get("steps", ()), options.site)
        # Credentials last: nobody is asked for a password before everything else is known to be right.
        server = dataclasses.replace(
            self.server(progress.trust),
            credentials=login.credentials(self.arguments, self._ask),
            agent_token=login.agent_token(self.arguments),
        )
        if self.arguments.timeout is not None:
            extra["timeout"] = self.arguments.timeout
        cancel = threading.Event()
        with progress, stopping(cancel, progress.stopping):
            return call(server, options, recorder=progress, cancel=cancel, **extra)

    def server(self, trust: KeyTrust) -> Server:
        """Return the server, as yet without a way to log in."""
        target = self.target
        return Server(
            host=target.host,
            port=target.port,
            user=target.user,
            host_key=trust.host_key,
            expected_fingerprint=trust.fingerprint,
            id=self.arguments.id,
            credentials=_NO_LOGIN,
        )

    def _progress(self, shown: Sequence[str], piped: type[Progress] = PlainProgress) -> Progress:
        trust = self.trust()
        if self.screen.live:
            # Loading what draws on a terminal takes a while, and nobody else needs it.
            from ocore.cli.show.live import LiveProgress  # noqa: PLC0415

            return LiveProgress(self.screen, trust, shown)
        return (JsonProgress if self.screen.as_json else piped)(self.screen, trust)
