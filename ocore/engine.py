"""The functions of the library: each makes one run over one server and returns how it ended."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ocore.evidence import planned
from ocore.models import Drift, RunResult
from ocore.options import ProvisionOptions
from ocore.runs.run import Kind, Run, Stop, checked
from ocore.site import changing_steps, chosen_steps, registry
from ocore.steps import CHANGING, CLEANUP, STEPS, VALIDATION
from ocore.transport import SshTransport

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from ocore.errors import Failure
    from ocore.intake.hostkeys import HostKey
    from ocore.models import Plan, Server
    from ocore.recorder import Recorder
    from ocore.specs import HardwareSpecs
    from ocore.transport import Transport

_ALL = tuple(step.name for step in STEPS)
_GATHER = ("connect", "privileges", "detect")
VALIDATE = Kind("validate", "validate", VALIDATION)
PROVISION = Kind("provision", "provision", _ALL, drains=True, installs_python=True, reads=CHANGING)
CLEAN = Kind("cleanup", "cleanup", tuple(step.name for step in CLEANUP), drains=True)
GATHER = Kind("gather", "facts", _GATHER)
LOOK = Kind("look", "provision", _GATHER, tags=("look",), reads=CHANGING)


def _of(kind: Kind, options: ProvisionOptions) -> Kind:
    """Return a kind of run with the site's steps among ours."""
    if options.site is None:
        return kind
    steps = tuple(step.name for step in registry(options.site)) if kind is PROVISION else kind.steps
    return dataclasses.replace(kind, steps=steps, reads=changing_steps(options.site))


def validate(
    server: Server,
    options: ProvisionOptions | None = None,
    *,
    recorder: Recorder | None = None,
    cancel: threading.Event | None = None,
    timeout: float = 900.0,
    transport: Transport | None = None,
) -> RunResult:
    """Check that a server can be reached and provisioned. Changes nothing on it.

    Args:
        server: the server; pin `RunResult.host_key` when `server.host_key` is None.
        options: what it is to become; the defaults where None.
        recorder: is told what happens while the run goes on.
        cancel: when set, the run is stopped, here and on the server.
        timeout: seconds for the whole run.
        transport: how the server is reached; a double from `ocore.testing` in tests.

    """
    return Run(VALIDATE, server, options, recorder, Stop(cancel, timeout), transport or SshTransport()).go()


def provision(
    server: Server,
    options: ProvisionOptions | None = None,
    *,
    recorder: Recorder | None = None,
    steps: Sequence[str] = (),
    force: bool = False,
    check: bool = False,
    cancel: threading.Event | None = None,
    timeout: float = 3600.0,
    transport: Transport | None = None,
) -> RunResult:
    """Validate a server and bring it to the wanted state: steps that are already so are `unchanged`.

    A run after one that failed or was stopped goes on at the first step that is not so.

    Args:
        server: see `validate`.
        options: see `validate`.
        recorder: see `validate`.
        steps: only these (and `verify`, where any of them runs); all where empty.
        force: run every step, also those that are already so.
        check: change nothing, and report what would be changed (Ansible's check mode).
        cancel: see `validate`.
        timeout: see `validate`.
        transport: see `validate`.

    Raises:
        ConfigError: `steps` names something that is no step of provisioning.
        RecorderError: the recorder raised.

    """
    options = options or ProvisionOptions()
    variables = {"ocore_force": force, "ocore_steps": list(chosen_steps(steps, options.site))}
    run = Run(_of(PROVISION, options), server, options, recorder, Stop(cancel, timeout), transport or SshTransport())
    return run.go(variables, check=check)


def cleanup(
    server: Server,
    options: ProvisionOptions | None = None,
    *,
    recorder: Recorder | None = None,
    cancel: threading.Event | None = None,
    timeout: float = 1200.0,
    transport: Transport | None = None,
) -> RunResult:
    """Remove from a server what provisioning put there, and nothing else.

    Docker stays where it was there before or runs containers of others; volumes and data always stay.
    `RunResult.notes` names what was kept, and why.
    """
    return Run(CLEAN, server, options, recorder, Stop(cancel, timeout), transport or SshTransport()).go()


def gather(
    server: Server,
    options: ProvisionOptions | None = None,
    *,
    recorder: Recorder | None = None,
    cancel: threading.Event | None = None,
    timeout: float = 900.0,
    transport: Transport | None = None,
) -> HardwareSpecs:
    """Read a server's hardware and system.

    Raises:
        RunFailed: they could not be read.

    """
    result = Run(GATHER, server, options, recorder, Stop(cancel, timeout), transport or SshTransport()).go()
    specs = result.raise_for_status().specs
    assert specs is not None  # noqa: S101 - a run that succeeded has read them
    return specs


def probe(
    server: Server, options: ProvisionOptions | None = None, *, transport: Transport | None = None
) -> HostKey | Failure:
    """Ask who answers at a server's address, and send no credential: a cheap sign of life.

    Returns:
        The host key that the server shows, or why there is none: the failure is `host_key_changed` where it is not
        the pinned one.

    """
    transport = transport or SshTransport()
    where = transport.resolve(server, (options or ProvisionOptions()).reach)
    if not isinstance(where, str):
        return where
    return checked(server, transport.host_key(server, where))


def _look(
    server: Server,
    options: ProvisionOptions,
    recorder: Recorder | None,
    stop: Stop,
    transport: Transport | None,
    *,
    steps: tuple[str, ...] = (),
    force: bool = False,
) -> RunResult:
    run = Run(_of(LOOK, options), server, options, recorder, stop, transport or SshTransport())
    return run.go({"ocore_force": force, "ocore_steps": list(steps)}).raise_for_status()


def plan(
    server: Server,
    options: ProvisionOptions | None = None,
    *,
    recorder: Recorder | None = None,
    steps: Sequence[str] = (),
    force: bool = False,
    cancel: threading.Event | None = None,
    timeout: float = 900.0,
    transport: Transport | None = None,
) -> Plan:
    """Say what `provision` with the same arguments would do now, step by step, and why. Changes nothing.

    Raises:
        ConfigError: `steps` names something that is no step of provisioning.
        RunFailed: the server could not be read.

    """
    options = options or ProvisionOptions()
    chosen = chosen_steps(steps, options.site)
    result = _look(server, options, recorder, Stop(cancel, timeout), transport, steps=chosen, force=force)
    return planned(server, options, result.reading)


def drift(
    server: Server,
    options: ProvisionOptions | None = None,
    *,
    recorder: Recorder | None = None,
    cancel: threading.Event | None = None,
    timeout: float = 900.0,
    transport: Transport | None = None,
) -> Drift:
    """Say which steps are no longer so, and which depend on those. Changes nothing.

    Raises:
        RunFailed: the server could not be read.

    """
    result = _look(server, options or ProvisionOptions(), recorder, Stop(cancel, timeout), transport)
    return Drift(tuple(one for one in result.reading if one.due))
