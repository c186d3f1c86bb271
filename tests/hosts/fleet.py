"""Starting, finding and removing test hosts."""

from __future__ import annotations

import secrets
import socket
import sys

from tests.hosts import emulation, engine, images, mirror, proxies, state
from tests.hosts.engine import HostError
from tests.hosts.host import Host
from tests.hosts.variants import VARIANTS

WARNING = (
    "test hosts are containers with near-privileged rights on this machine (SYS_ADMIN, no seccomp): "
    "run nothing in them that you would not run here"
)
ARCHIVES = "/usr/local/share/ocore-images"
TRIES = 3


def free_port(address: str) -> int:
    """Return a port that is free now; fixed rather than the engine's own choice, so that a restart keeps it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    return port


def _arguments(host: Host) -> list[str]:
    """Return the docker arguments for one host."""
    publish = f"[{host.address}]" if ":" in host.address else host.address
    arguments = ["--detach", "--name", host.container, "--hostname", host.name, *engine.labels()]
    arguments += ["--label", f"sh.ocore.host={host.name}", *engine.boot_arguments(engine.hierarchy())]
    arguments += ["--volume", f"{host.container}:/var/lib/docker"]
    arguments += ["--publish", f"{publish}:{host.ssh_port}:22", "--publish", f"{publish}:{host.http_port}:80"]
    for name, address in mirror.read().pinned_addresses().items():
        arguments += ["--add-host", f"{name}:{address}"]
    return arguments


def _plan(name: str, suite: str, variant: str) -> Host:
    address = VARIANTS[variant].address
    return Host(
        name=name,
        suite=suite,
        variant=variant,
        container=f"ocore-test-{state.owner()}-{name}",
        ssh_port=free_port(address),
        http_port=free_port(address),
        address=address,
        key_file=state.client_key(),
        architecture=VARIANTS[variant].architecture,
    )


def _start(host: Host, image: str, *, proxy_images: bool) -> None:
    arguments = _arguments(host)
    if proxy_images:
        arguments += ["--volume", f"{proxies.archives()}:{ARCHIVES}:ro"]
    engine.run("volume", "create", *engine.labels(), host.container)
    first = emulation.SSHD if emulation.needed(host.architecture) else "true"
    engine.run("run", *arguments, image, *engine.boot_command(engine.hierarchy(), first))


def _start_on_free_ports(name: str, suite: str, variant: str, image: str, *, proxy_images: bool) -> Host:
    """Start a host; a port may be taken between the choice and the start, so this tries again."""
    for attempt in range(1, TRIES + 1):
        host = _plan(name, suite, variant)
        try:
            _start(host, image, proxy_images=proxy_images)
        except HostError as error:
            host.remove()
            taken = "already allocated" in str(error) or "address already in use" in str(error)
            if not taken or attempt == TRIES:
                raise
        else:
            return host
    raise AssertionError("unreachable")


def up(
    variant: str = "root-key",
    *,
    suite: str | None = None,
    name: str | None = None,
    docker: bool = False,
    proxy_images: bool = True,
) -> Host:
    """Start a host, wait until it has booted, and make it what the variant says.

    `docker` starts from an image with Debian's Docker already installed; `proxy_images` lets the host's Docker
    find the proxies' images (the stand-in for a registry).
    """
    if variant not in VARIANTS:
        raise HostError(f"there is no variant {variant!r}; there are: {', '.join(sorted(VARIANTS))}")
    suite = suite or VARIANTS[variant].suite
    name = name or f"{variant}-{secrets.token_hex(3)}"
    if name in {host.name for host in hosts()}:
        raise HostError(f"a host named {name!r} is there already; `./dev hosts down` removes it")
    print(WARNING, file=sys.stderr, flush=True)
    emulation.require(VARIANTS[variant].architecture)
    image = images.target(suite, docker=docker, architecture=VARIANTS[variant].architecture)
    host = _start_on_free_ports(name, suite, variant, image, proxy_images=proxy_images)
    try:
        return _settle(host)
    except BaseException:
        host.remove()
        raise


def _settle(host: Host) -> Host:
    """Wait for the boot, let our key in, and apply the variant."""
    host.wait_until_booted()
    host.exec("mkdir -p -m 0700 /root/.ssh")
    host.write("/root/.ssh/authorized_keys", state.client_public_key() + "\n", mode="0600")
    host = VARIANTS[host.variant].apply(host)
    host.save()
    return host


def hosts() -> list[Host]:
    """Return the hosts of this state directory that are there, running or not."""
    template = '{{.Label "sh.ocore.host"}}'
    names = engine.run("ps", "--all", *engine.filters(), "--format", template).stdout.split()
    notes = [state.directory("hosts") / f"{name}.json" for name in sorted(names)]
    return [Host.load(note) for note in notes if note.exists()]


def down(name: str | None = None) -> int:
    """Remove one host, or all of this state directory's, also what a crash left; return how many there were."""
    wanted = [*engine.filters(), *(["--filter", f"label=sh.ocore.host={name}"] if name else [])]
    containers = engine.run("ps", "--all", "--quiet", *wanted).stdout.split()
    if containers:
        engine.run("rm", "--force", "--volumes", *containers)
    volumes = engine.run("volume", "ls", "--quiet", *engine.filters(), "--filter", "dangling=true").stdout.split()
    if volumes:
        engine.run("volume", "rm", "--force", *volumes)
    for note in state.directory("hosts").glob(f"{name or '*'}.json"):
        note.unlink()
    return len(containers)
