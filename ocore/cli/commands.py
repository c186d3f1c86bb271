"""The commands: each takes a session and returns an outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocore.capacity import GIB, MIB, estimate
from ocore.cli import debugging, handmade
from ocore.cli.constants import constants
from ocore.cli.exits import Exit
from ocore.cli.options import parse_options
from ocore.cli.outcome import Outcome, of_run
from ocore.cli.show import shapes, words
from ocore.errors import ConfigError
from ocore.site import registry
from ocore.sizing import gains, smallest, with_more
from ocore.specs import HardwareSpecs
from ocore.steps import CLEANUP, VALIDATION

if TYPE_CHECKING:
    from argparse import Namespace

    from ocore.cli.session import Session
    from ocore.models import RunResult


def provision(session: Session) -> Outcome:
    """Bring a server to what the options say."""
    arguments = session.arguments
    result = session.run(
        session.door.provision,
        shown=[step.name for step in registry(parse_options(arguments).site)],
        steps=arguments.step,
        force=arguments.force,
        check=arguments.check,
    )
    found = estimate(result.specs) if result.ok and result.specs else None
    outcome = _of_run(session, result, repeat=True)
    return outcome.extended({"capacity": shapes.capacity(found)}, words.capacity(found) if found else [])


def validate(session: Session) -> Outcome:
    """Look at a server and change nothing."""
    return _of_run(session, session.run(session.door.validate, shown=VALIDATION))


def cleanup(session: Session) -> Outcome:
    """Remove what provisioning put on a server."""
    result = session.run(session.door.cleanup, shown=[step.name for step in CLEANUP])
    return _of_run(session, result, repeat=True)


def _of_run(session: Session, result: RunResult, *, repeat: bool = False) -> Outcome:
    """Summarise a run; `repeat` lists its steps again where lines of tasks went by between them."""
    lines = words.run(result, steps=repeat and not session.screen.live)
    return of_run(result, session.pinned_place, shapes.run(result), lines)


def plan(session: Session) -> Outcome:
    """Say what `provision` would do now."""
    arguments = session.arguments
    made = session.read(session.door.plan, steps=arguments.step, force=arguments.force)
    return Outcome(shapes.plan(made), words.plan(made))


def drift(session: Session) -> Outcome:
    """Say what is no longer as it was provisioned."""
    found = session.read(session.door.drift)
    return Outcome(shapes.drift(found), words.drift(found), Exit.DRIFT if found else Exit.OK)


def facts(session: Session) -> Outcome:
    """Read a server's hardware and system."""
    found = session.read(session.door.gather)
    return Outcome({"specs": shapes.specs(found)}, words.specs(found))


def capacity(session: Session) -> Outcome:
    """Say what a server can carry, from the server or from figures."""
    arguments = session.arguments
    profile, settings = constants(arguments)
    given = (arguments.cores, arguments.ram_mb, arguments.disk_gb)
    if arguments.target and any(figure is not None for figure in given):
        raise ConfigError("capacity", "give a server or figures, not both")
    specs = session.read(session.door.gather) if arguments.target else _figures(arguments)
    specs = with_more(specs, cores=arguments.add_cores, ram_mb=arguments.add_ram_mb, disk_gb=arguments.add_disk_gb)
    found, more = estimate(specs, profile, settings), gains(specs, profile, settings)
    body = {"profile": profile, "specs": shapes.specs(specs), "capacity": shapes.capacity(found)}
    return Outcome(body | {"gains": shapes.gains(more)}, [*words.capacity(found), words.gains(more)])


def size(session: Session) -> Outcome:
    """Say which machine is the smallest that is enough."""
    arguments = session.arguments
    profile, settings = constants(arguments)
    found = smallest(arguments.users, instances=arguments.instances, profile=profile, settings=settings)
    carries = estimate(found.specs, profile, settings)
    body = {"profile": profile, "machine": shapes.machine(found), "capacity": shapes.capacity(carries)}
    return Outcome(body, [words.machine(found), *words.capacity(carries)])


def _figures(arguments: Namespace) -> HardwareSpecs:
    cores, ram, disk = arguments.cores, arguments.ram_mb, arguments.disk_gb
    if cores is None or ram is None or disk is None:
        raise ConfigError("capacity", "give a server, or all of --cores, --ram-mb and --disk-gb")
    return HardwareSpecs(
        cpu_cores=cores,
        ram_total_bytes=ram * MIB,
        disk_total_bytes=disk * GIB,
        disk_free_bytes=disk * GIB,
    )


def steps(session: Session) -> Outcome:
    """List the steps of a provisioning run."""
    found = registry(parse_options(session.arguments).site)
    return Outcome({"steps": shapes.steps(found)}, words.steps(found))


_HINT = ("Run for example (where all is so already, it stops after looking; -e ocore_force=true runs every step):",)


def inventory(session: Session) -> Outcome:
    """Write what is needed to run the playbooks by hand."""
    made = handmade.write(session)
    body = {"files": [str(file) for file in made.files], "commands": list(made.commands)}
    return Outcome(body, [*(f"Wrote {file}" for file in made.files), "", *_HINT, "", *made.commands])


def debug_bundle(session: Session) -> Outcome:
    """Write what somebody elsewhere needs to make a run again by hand, without the server's secrets."""
    file = debugging.write(session)
    said = [f"Wrote {file}; README.md in it says what is in it, what to fill in and how to run it."]
    return Outcome({"files": [str(file)]}, said)


def forget_host_key(session: Session) -> Outcome:
    """Remove the pinned host key of a server."""
    target = session.target
    key = session.pins.forget(target.host, target.port)
    body = {"host": target.host, "port": target.port, "forgotten": shapes.host_key(key)}
    if key is None:
        return Outcome(body, [f"No host key was pinned for {target.place}."])
    return Outcome(body, [f"Forgot the host key of {target.place}: {key.type} {key.fingerprint}."])
