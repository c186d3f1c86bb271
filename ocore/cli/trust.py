"""Which host key a run trusts: the one given, else the pinned one, else the first one seen, which is pinned."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from ocore.intake.hostkeys import HostKey, check_fingerprint

if TYPE_CHECKING:
    from ocore.cli.pins import Pins
    from ocore.cli.target import Target


class Trust(StrEnum):
    """How a host key that was seen stands."""

    GIVEN = "given"
    PINNED = "pinned"
    FIRST = "first"
    CHANGED = "changed"


class KeyTrust:
    """What one run knows of the server's host key.

    Attributes:
        host_key: the key that the server must show, where it is known as a whole.
        fingerprint: the fingerprint that its key must have, where only that is known.

    """

    def __init__(self, pins: Pins, target: Target, given: str | None) -> None:
        self._pins = pins
        self._target = target
        self._pinned = pins.get(target.host, target.port)
        self._given = given is not None
        self.host_key, self.fingerprint = (self._pinned, None) if given is None else _parse(given)

    def accept(self, key: HostKey) -> Trust:
        """Judge the key that the server showed, and pin it where it is new.

        The library makes the same judgement and ends the run; here it decides what is stored. A key that was given
        takes the place of another pin: whoever names a key means it.
        """
        if not self._fits(key):
            return Trust.CHANGED
        if key != self._pinned:
            self._pins.put(self._target.host, self._target.port, key, known=self._pinned)
        if self._given:
            return Trust.GIVEN
        return Trust.PINNED if self._pinned else Trust.FIRST

    def _fits(self, key: HostKey) -> bool:
        if self.fingerprint is not None:
            return key.fingerprint == self.fingerprint
        return self.host_key is None or key == self.host_key


def _parse(given: str) -> tuple[HostKey | None, str | None]:
    if given.lstrip().startswith("SHA256:"):
        return None, check_fingerprint(given)
    return HostKey.parse(given), None
