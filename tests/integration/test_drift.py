"""Damage is named, with what depends on it and nothing else, and repaired."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import ocore
from tests.integration.support import NOT_VALIDATION, describe, options, server, statuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host

DAMAGES = {
    "docker is stopped": ("systemctl stop docker.socket docker.service", "docker"),
    "docker's configuration is edited": ("echo '{}' > /etc/docker/daemon.json", "docker"),
    "the marker file is edited": ("echo '{}' > /etc/ocore/server.json", "runtime"),
    "the proxy's configuration is edited": ("echo '# mine' >> /etc/ocore/proxy/Caddyfile", "proxy"),
    "the proxy's container is removed": ("docker rm -f ocore-proxy; systemctl stop ocore-proxy", "proxy"),
    "the proxy has loaded an edited configuration": (
        "cd /etc/ocore/proxy; cp Caddyfile /tmp; echo>>Caddyfile; systemctl restart ocore-proxy; sleep 3; cp /tmp/C* .",
        "proxy",
    ),
    "docker has not taken its configuration": ("touch /etc/docker/daemon.json", "docker"),
    "the server was not verified": ("rm /var/lib/ocore/verified", "verify"),
    "a package is removed": ("dpkg --force-depends --purge curl", "packages"),
}
# One at each end of the chain, and the one that loads; the others are run by `./dev test --all`.
SHORT = {"docker is stopped", "the server was not verified"}


@pytest.fixture(scope="module")
def ready(start: Callable[..., Host]) -> Host:
    """Return a provisioned host."""
    host = start("root-key", docker=True)
    result = ocore.provision(server(host), options())
    assert result.ok, describe(result)
    return host


@pytest.mark.parametrize(
    "damage", [pytest.param(one, marks=() if one in SHORT else pytest.mark.slow) for one in DAMAGES]
)
def test_damage_is_named_and_repaired(ready: Host, damage: str) -> None:
    """Drift names the damaged step and those that depend on it; provisioning runs those; then there is none."""
    command, step = DAMAGES[damage]
    assert not ocore.drift(server(ready), options())
    ready.exec(command)
    expected = list(NOT_VALIDATION[NOT_VALIDATION.index(step) :])

    drift = ocore.drift(server(ready), options())
    assert [one.step for one in drift.steps] == expected
    assert all(one.reasons for one in drift.steps)

    result = ocore.provision(server(ready), options())
    assert result.ok, describe(result)
    assert [name for name, status in statuses(result).items() if status == "success"][4:] == expected
    assert not ocore.drift(server(ready), options())
