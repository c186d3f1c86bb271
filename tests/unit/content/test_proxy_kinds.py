"""What the role `proxy` makes of each kind."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
import yaml

from ocore.options import ProvisionOptions
from tests.unit.content.rendering import rendered

KINDS = ("caddy", "nginx", "traefik")


def state(kind: str) -> list[dict[str, Any]]:
    """Return what the role wants with a kind of proxy."""
    found: list[dict[str, Any]] = rendered("proxy_state", "proxy", proxy_kind=kind)
    return found


def files(kind: str) -> dict[str, str]:
    """Return the files of a kind."""
    return {one["path"]: one["content"] for one in state(kind) if one["kind"] == "file"}


def absent(kind: str) -> set[str]:
    """Return the paths that are not to be there with a kind."""
    return {one["path"] for one in state(kind) if one["kind"] == "absent" and "path" in one}


def test_every_kind_is_an_option() -> None:
    """The option offers the role's kinds, and none."""
    assert set(get_args(get_type_hints(ProvisionOptions)["proxy"])) == {*KINDS, "none"}


@pytest.mark.parametrize("kind", [*KINDS, "none"])
def test_no_file_of_another_kind_stays(kind: str) -> None:
    """Whatever any other kind writes below /etc/ocore/proxy is to be absent."""
    others = {path for other in KINDS if other != kind for path in files(other) if path.startswith("/etc/ocore/proxy/")}
    assert others - set(files(kind) if kind != "none" else ()) <= absent(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_proxy_has_no_way_to_docker(kind: str) -> None:
    """Docker's socket is in no container, and each runs with next to no rights."""
    unit = files(kind)["/etc/systemd/system/ocore-proxy.service"]
    assert "docker.sock" not in unit
    assert {"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"} <= set(unit.split())


def test_a_changed_second_file_makes_another_container() -> None:
    """The label that tells when a container has to be another one covers all files."""
    one = rendered("__proxy_digest", "proxy", proxy_kind="traefik")
    other = rendered(
        "__proxy_digest", "proxy", proxy_kind="traefik", __proxy_traefik_dynamic={"content": "", "path": "x"}
    )
    assert one != other


def test_traefik_has_two_entry_points_and_no_dashboard() -> None:
    """Its static configuration is YAML with nothing but what it needs; its routers come from the file that it names."""
    written = files("traefik")
    static = yaml.safe_load(written["/etc/ocore/proxy/traefik.yml"])
    assert static["entryPoints"] == {"web": {"address": ":80"}, "websecure": {"address": ":443"}}
    assert "api" not in static
    assert set(static["providers"]) == {"file"}
    dynamic = yaml.safe_load(written[static["providers"]["file"]["filename"]])
    [router] = dynamic["http"]["routers"].values()
    assert set(router["entryPoints"]) <= set(static["entryPoints"])
    assert set(router["middlewares"]) == set(dynamic["http"]["middlewares"])
