"""The proxy with Traefik itself: it answers, is repaired, replaces another kind and is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import ocore
from tests.hosts import proxies
from tests.integration.support import describe, options, server, statuses
from tests.integration.test_provision import asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host

pytestmark = pytest.mark.slow

FILES = "find /etc/ocore/proxy -type f | sort"
DYNAMIC = "/etc/ocore/proxy/traefik-dynamic.yml"


@pytest.fixture(scope="module")
def host(start: Callable[..., Host]) -> Host:
    """Return a host with Caddy, and Traefik's image."""
    host = start("root-key", docker=True)
    result = ocore.provision(server(host), options(proxy="caddy"))
    assert result.ok, describe(result)
    host.copy_in(proxies.traefik(), "/root/traefik.tar")
    host.exec("docker load --quiet --input /root/traefik.tar && rm /root/traefik.tar", seconds=300)
    return host


def test_it_takes_the_place_of_another_kind(host: Host) -> None:
    """It answers at port 80, and at 443 it accepts; the other's configuration is gone, and nothing else of it runs."""
    result = ocore.provision(server(host), options(proxy="traefik"))

    assert result.ok, describe(result)
    assert statuses(result)["verify"] == "success"
    answer = asked(host)
    assert (answer.status, answer.getheader("Server")) == (200, "Traefik")
    host.exec("timeout 3 bash -c '</dev/tcp/127.0.0.1/443'")
    assert host.exec(FILES).stdout.split() == [DYNAMIC, "/etc/ocore/proxy/traefik.yml"]
    assert "docker.sock" not in host.exec("docker inspect ocore-proxy").stdout


def test_it_shows_nothing_of_itself(host: Host) -> None:
    """There is no dashboard, no API, and no port but the two."""
    said = host.exec("curl -s http://127.0.0.1/api/rawdata; curl -s http://127.0.0.1/dashboard/").stdout
    assert said == "OKOK"
    listening = host.exec("nsenter -t $(docker inspect -f '{{.State.Pid}}' ocore-proxy) -n ss -Hltn").stdout
    ports = {line.split()[3].rpartition(":")[2] for line in listening.splitlines() if "127.0.0.11" not in line}
    assert ports == {"80", "443"}


def test_a_second_run_changes_nothing(host: Host) -> None:
    """Every step is already so."""
    result = ocore.provision(server(host), options(proxy="traefik"))
    assert result.ok, describe(result)
    assert statuses(result)["proxy"] == "unchanged"


def test_an_edited_router_is_found_and_repaired(host: Host) -> None:
    """Its second file counts like its first."""
    host.exec(f"sed -i s/Traefik/Other/ {DYNAMIC}")
    found = ocore.drift(server(host), options(proxy="traefik"))
    assert [one.step for one in found.steps] == ["proxy", "verify"]

    result = ocore.provision(server(host), options(proxy="traefik"))
    assert result.ok, describe(result)
    assert asked(host).getheader("Server") == "Traefik"


def test_an_image_that_does_not_serve_replaces_nothing(host: Host) -> None:
    """The run fails, names the image, and Traefik goes on."""
    host.exec("docker tag docker.io/library/caddy:2.10.2 example.org/broken:1")
    result = ocore.provision(server(host), options(proxy="traefik", traefik_image="example.org/broken:1"))

    assert result.error is not None
    assert "example.org/broken:1 does not serve" in result.error.message
    assert asked(host).getheader("Server") == "Traefik"


def test_it_is_replaced_and_cleaned_up(host: Host) -> None:
    """Nothing of it stays when another kind is chosen, nor after cleaning up."""
    result = ocore.provision(server(host), options(proxy="caddy"))
    assert result.ok, describe(result)
    assert host.exec(FILES).stdout.split() == ["/etc/ocore/proxy/Caddyfile"]

    assert ocore.provision(server(host), options(proxy="traefik")).ok
    cleaned = ocore.cleanup(server(host), options())
    assert cleaned.ok, describe(cleaned)
    assert host.exec("ls /etc/ocore /etc/systemd/system/ocore-proxy.service 2>&1", check=False).returncode != 0
    assert host.exec("docker ps --all --quiet").stdout == ""
