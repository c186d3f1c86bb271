"""The images that test hosts are started from, built from Debian's packages and kept by the hash of their recipe."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
from pathlib import Path

from tests.hosts import emulation, engine, mirror, state
from tests.hosts.engine import HostError

RECIPE = Path(__file__).parent / "image"
SUITES = ("trixie", "bookworm")
PACKAGES = [
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "python3", "python3-apt"),
    *("iproute2", "procps", "ca-certificates", "iptables"),
]
DOCKER_PACKAGES = {"trixie": ["docker.io", "docker-cli"], "bookworm": ["docker.io"]}


def recipe_hash(*parts: str) -> str:
    """Hash what an image is made from: the recipe's files and the given parts."""
    digest = hashlib.sha256("\0".join(parts).encode())
    for file in sorted(RECIPE.iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def exists(tag: str) -> bool:
    """Tell whether the engine has an image."""
    return engine.run("image", "inspect", "--format", "x", tag, check=False).returncode == 0


def bootstrap(
    suite: str, target: Path, packages: list[str], variant: str, hook: str, architecture: str | None = None
) -> None:
    """Make a root file system archive with mmdebstrap; `hook` is the recipe's script that finishes it."""
    sources = mirror.read()
    command = ["mmdebstrap", "--quiet", f"--variant={variant}", f"--include={','.join(packages)}"]
    command += [f"--aptopt={line}" for line in sources.proxies]
    if architecture:
        command += [f"--architectures={architecture}"]
    if sources.authorities:
        command += [f'--aptopt=Acquire::https::CAInfo "{sources.authorities}";']
        command += [f"--customize-hook=upload {sources.authorities} {mirror.BUNDLE}"]
    # Packages that are only unpacked are never customized.
    stage = "extract" if variant == "extract" else "customize"
    command += [f'--{stage}-hook=sh {shlex.quote(str(RECIPE / hook))} "$1"', suite, str(target), *sources.lines(suite)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise HostError("mmdebstrap is not installed; `./dev setup` installs it") from error
    if done.returncode != 0:
        raise HostError(f"mmdebstrap failed for {suite}: {done.stderr.strip()[-2000:]}")


def import_archive(archive: Path, tag: str, changes: list[str]) -> None:
    """Turn a root file system archive into an image, and remove the archive."""
    options = [piece for change in changes for piece in ("--change", change)]
    with archive.open("rb") as file:
        engine.run("import", *options, "-", tag, source=file, seconds=600)
    archive.unlink()


def target(suite: str = "trixie", *, docker: bool = False, architecture: str | None = None) -> str:
    """Return the tag of a host image, building it where it is missing; its architecture is this machine's by default.

    To the engine every image is one of its own architecture: the kernel knows which program needs the emulator.
    """
    if suite not in SUITES:
        raise HostError(f"there is no host image for {suite!r}; there is one for: {', '.join(SUITES)}")
    packages = PACKAGES + (DOCKER_PACKAGES[suite] if docker else [])
    sources = mirror.read()
    made_of = [suite, *packages, *sources.lines(suite), *sources.proxies, str(sources.authorities)]
    digest = recipe_hash(*made_of, *([architecture] if architecture else []))
    name = "-".join([suite, *([architecture] if architecture else []), *(["docker"] if docker else [])])
    tag = f"ocore-target:{name}-{digest}"
    # Each image has a lock of its own: others need not wait for one that takes long.
    with state.locked(f"image-{name}"):
        if not exists(tag):
            about = "6 minutes, by emulation" if emulation.needed(architecture) else "30 s"
            print(f"building the image {tag} (about {about})", file=sys.stderr, flush=True)
            archive = state.directory("build") / f"{tag.rpartition(':')[2]}.tar"
            bootstrap(suite, archive, packages, "minbase", "target.sh", architecture)
            import_archive(archive, tag, ['CMD ["/sbin/init"]'])
    return tag
