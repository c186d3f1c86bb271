"""What the command line needs of the library. `ocore.engine` is one; tests bring their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import Event

    from ocore.models import Drift, Plan, RunResult, Server
    from ocore.options import ProvisionOptions
    from ocore.recorder import Recorder
    from ocore.specs import HardwareSpecs


class Door(Protocol):
    """The library's functions that contact a server."""

    def validate(
        self,
        server: Server,
        options: ProvisionOptions | None = None,
        *,
        recorder: Recorder | None = None,
        cancel: Event | None = None,
        timeout: float = ...,
    ) -> RunResult:
        """Look at a server and change nothing."""

    def provision(
        self,
        server: Server,
        options: ProvisionOptions | None = None,
        *,
        recorder: Recorder | None = None,
        steps: Sequence[str] = ...,
        force: bool = ...,
        check: bool = ...,
        cancel: Event | None = None,
        timeout: float = ...,
    ) -> RunResult:
        """Bring a server to what the options say."""

    def plan(
        self,
        server: Server,
        options: ProvisionOptions | None = None,
        *,
        recorder: Recorder | None = None,
        steps: Sequence[str] = ...,
        force: bool = ...,
        cancel: Event | None = None,
        timeout: float = ...,
    ) -> Plan:
        """Say what `provision` would do. Raises RunFailed."""

    def drift(
        self,
        server: Server,
        options: ProvisionOptions | None = None,
        *,
        recorder: Recorder | None = None,
        cancel: Event | None = None,
        timeout: float = ...,
    ) -> Drift:
        """Say what is no longer so. Raises RunFailed."""

    def cleanup(
        self,
        server: Server,
        options: ProvisionOptions | None = None,
        *,
        recorder: Recorder | None = None,
        cancel: Event | None = None,
        timeout: float = ...,
    ) -> RunResult:
        """Remove what provisioning put there."""

    def gather(
        self,
        server: Server,
        options: ProvisionOptions | None = None,
        *,
        recorder: Recorder | None = None,
        cancel: Event | None = None,
        timeout: float = ...,
    ) -> HardwareSpecs:
        """Read the hardware and the system. Raises RunFailed."""
