"""Disposable servers for tests: containers that boot systemd and sshd, and let Docker run inside them."""

from tests.hosts.engine import HostError, available, gateway
from tests.hosts.fleet import down, hosts, up
from tests.hosts.host import Host
from tests.hosts.variants import VARIANTS, hold_apt_locks, release_apt_locks

__all__ = [
    "VARIANTS",
    "Host",
    "HostError",
    "available",
    "down",
    "gateway",
    "hold_apt_locks",
    "hosts",
    "release_apt_locks",
    "up",
]
