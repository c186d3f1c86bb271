"""Signs receipts, and statements about them, with the active key of a ring of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import ocore
from api.errors import SetupError
from api.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.security.keyring import Keyring, Ring

_log = log(__name__)


class Signer:
    """Signs with a ring of keys."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        # Read at once: a process that has not signed yet has to end runs as well while the file cannot be read.
        self._last: Ring = keyring.ring()

    def sign(self, kind: Literal["receipt", "statement"], value: Mapping[str, Any]) -> dict[str, Any]:
        """Return something signed."""
        return ocore.sign_receipt(kind, value, self._private)

    @property
    def active(self) -> str:
        """The public key whose private one signs now."""
        return ocore.receipt_public_key(self._private)

    @property
    def _private(self) -> bytes:
        try:
            self._last = self._keyring.ring()
        except SetupError as error:
            # A run must be able to end, also while somebody exchanges the file.
            _log.error("the keys of receipts cannot be read; the last ones go on", error=str(error))
        return self._last.keys[self._last.active]
