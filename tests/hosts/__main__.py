"""Start, list and remove test hosts from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from tests import hosts
from tests.hosts import images, proxies

if TYPE_CHECKING:
    from collections.abc import Sequence


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev hosts", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a host and say how to reach it")
    up.add_argument("--variant", default="root-key", choices=sorted(hosts.VARIANTS))
    up.add_argument("--suite", choices=images.SUITES, help="the Debian release (default: the variant's)")
    up.add_argument("--name", help="the host's name (default: made up)")
    up.add_argument("--docker", action="store_true", help="start with Debian's Docker installed")
    up.add_argument("--json", action="store_true", help="say it for a machine")
    down = commands.add_parser("down", help="remove this checkout's hosts, also what a crash left")
    down.add_argument("--name", help="only this host")
    commands.add_parser("list", help="list this checkout's hosts").add_argument("--json", action="store_true")
    commands.add_parser("build", help="build the images that hosts are started from")
    return parser


def _described(host: hosts.Host) -> dict[str, object]:
    """Return what may be shown of a host: everything but its passwords."""
    return {
        "name": host.name,
        "suite": host.suite,
        "variant": host.variant,
        "target": host.target,
        "user": host.user,
        "address": host.address,
        "ssh_port": host.ssh_port,
        "http_port": host.http_port,
        "key_file": str(host.key_file) if host.key_file else None,
        "running": host.running(),
        "note": str(host.note()),
    }


def _show(host: hosts.Host, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_described(host)))
        return
    print(f"{host.name}  {host.suite}  {hosts.VARIANTS[host.variant].says}")
    print(f"  ssh -i {host.key_file} -p {host.ssh_port} {host.user}@{host.address}   port 80: {host.http_port}")
    if host.password:
        print(f"  its password is in {host.note()}")


def _build() -> None:
    for suite in images.SUITES:
        print(images.target(suite))
    print(images.target("trixie", docker=True))
    print(proxies.archives())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 3 says that hosts cannot be had here."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "up":
            host = hosts.up(options.variant, suite=options.suite, name=options.name, docker=options.docker)
            _show(host, as_json=options.json)
        elif options.command == "down":
            print(f"removed {hosts.down(options.name)} host(s)")
        elif options.command == "build":
            _build()
        elif options.json:
            print(json.dumps([_described(host) for host in hosts.hosts()]))
        else:
            for host in hosts.hosts():
                _show(host, as_json=False)
    except hosts.HostError as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
