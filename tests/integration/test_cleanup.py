"""Cleaning up a server that somebody else works with: what is theirs stays byte for byte, and ours goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import ocore
from tests.integration.support import describe, options, server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host

IMAGE = "caddy:2.10.2"
# What somebody had on the server first: settings of their own, a container that runs and one that does not, a volume.
THEIRS = f"""set -e
printf '{{"debug":  false, "log-opts": {{"max-size": "1g"}} }}' > /etc/docker/daemon.json
chmod 0640 /etc/docker/daemon.json
systemctl restart docker
docker volume create shop-data
docker run --detach --name shop --volume shop-data:/srv --restart always {IMAGE} caddy file-server
docker exec shop sh -c 'echo orders > /srv/orders'
docker create --name shop-old {IMAGE}
docker network create shop-net
"""
STATE = (
    "dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n'; apt-mark showmanual; "
    "find /etc /usr/local /opt /root /var/lib/ocore -xdev -type f -printf '%p %m %u %g ' -exec md5sum {} \\; "
    "2>/dev/null; find /etc /usr/local /opt /root -xdev \\( -type d -o -type l \\) -printf '%p %m %u %g %l\\n'; "
    "systemctl list-unit-files --no-legend --no-pager | awk '{print $1, $2}'"
)
IN_DOCKER = (
    "docker inspect --format '{{.Id}} {{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}' shop shop-old; "
    "docker ps -aq --no-trunc; docker network ls --format '{{.Name}}'; docker volume ls -q; "
    "docker images -q --no-trunc; docker exec shop cat /srv/orders"
)


def lines(host: Host, command: str) -> list[str]:
    """Return what a command prints, in an order that does not depend on chance."""
    return sorted(host.exec(command).stdout.splitlines())


@pytest.fixture(scope="module")
def host(start: Callable[..., Host]) -> Host:
    """Return a host with Docker, in which somebody works."""
    host = start("root-key", docker=True)
    host.exec(THEIRS)
    return host


@pytest.fixture(scope="module")
def before(host: Host) -> tuple[list[str], list[str]]:
    """Return what is on the host and in its Docker before anything was done to it."""
    return lines(host, STATE), lines(host, IN_DOCKER)


def test_a_server_that_was_never_provisioned_is_left_alone(host: Host, before: tuple[list[str], list[str]]) -> None:
    """Without a manifest nothing is done, not even to a container with our label."""
    host.exec(f"docker create --name labelled --label sh.ocore.managed=true {IMAGE}")
    result = ocore.cleanup(server(host), options())

    assert result.ok, describe(result)
    assert result.notes == ()
    host.exec("docker rm labelled")
    assert (lines(host, STATE), lines(host, IN_DOCKER)) == before


@pytest.mark.slow
def test_a_docker_that_is_stopped_keeps_the_manifest(host: Host, before: tuple[list[str], list[str]]) -> None:
    """What is in Docker cannot go without it: the notes say so, and the manifest tells of it, and of nothing else.

    Somebody else's Docker is not started: their containers would start with it.
    """
    result = ocore.provision(server(host), options())
    assert result.ok, describe(result)
    # As a run leaves it that was killed while it verified.
    host.exec(f"docker create --name ocore-verify --network ocore --label sh.ocore.managed=true {IMAGE}")
    host.exec("systemctl stop docker.socket docker.service")
    result = ocore.cleanup(server(host), options())

    assert result.ok, describe(result)
    assert [note.split(":")[0] for note in result.notes if "Docker does not answer" in note] == [
        "container ocore-proxy",
        "network ocore",
    ]
    assert host.exec("systemctl is-active docker.service", check=False).stdout.strip() == "inactive"
    left = [line for line in lines(host, STATE) if line not in before[0]]
    assert [line.split()[0] for line in left] == ["/var/lib/ocore/manifest.json"]


@pytest.mark.slow
def test_cleaning_up_again_finishes_the_work(host: Host, before: tuple[list[str], list[str]]) -> None:
    """Once Docker is back all of ours goes, and all of somebody else's is as it was."""
    # On a fast machine the tests before have started Docker oftener than systemd allows within a minute.
    host.exec("systemctl reset-failed docker.service; systemctl start docker.service")
    result = ocore.cleanup(server(host), options())

    assert result.ok, describe(result)
    assert result.notes == ()
    assert host.exec("ls -d /var/lib/ocore", check=False).stdout == ""
    assert lines(host, STATE) == before[0]
    now = lines(host, IN_DOCKER)
    # Stopping Docker has stopped their container, and starting it has started it again.
    assert [line for line in now if " running " not in line] == [line for line in before[1] if " running " not in line]


@pytest.mark.slow
def test_what_is_theirs_is_not_touched_while_it_runs(host: Host, before: tuple[list[str], list[str]]) -> None:
    """Provisioning and cleaning up leave a container that runs, its volume, and Docker's own settings as they are.

    Docker goes on with the settings that it works by, because restarting it would touch what runs.
    """
    running = lines(host, IN_DOCKER)
    assert ocore.provision(server(host), options()).ok
    result = ocore.cleanup(server(host), options(lock_timeout=5))

    assert result.ok, describe(result)
    assert [note.split(":")[0] for note in result.notes] == ["Docker's settings in use"]
    assert lines(host, IN_DOCKER) == running
    assert lines(host, STATE) == before[0]
