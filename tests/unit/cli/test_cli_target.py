"""[USER@]HOST[:PORT]."""

from __future__ import annotations

import pytest

from ocore.cli.target import Target, parse_target
from ocore.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("example.com", Target("root", "example.com", 22)),
        ("admin@example.com", Target("admin", "example.com", 22)),
        ("admin@192.0.2.1:2222", Target("admin", "192.0.2.1", 2222)),
        ("[2001:DB8::1]", Target("root", "2001:db8::1", 22)),
        ("root@[::1]:2222", Target("root", "::1", 2222)),
    ],
)
def test_a_target_is_split(text: str, target: Target) -> None:
    """The user is root and the port 22 where they are left out."""
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "@example.com",
        "a@b@example.com",
        "example.com:",
        "example.com:0",
        "example.com:65536",
        "example.com: 22",
        "example.com:+22",
        "example.com:2_2",
        "example.com:\u0662\u0662",
        "example.com:22:22",
        "::1",
        "root@2001:db8::1:22",
        "[::1",
        "[::1]22",
        "[::1]:",
        "[::1]:x",
        "[example.com]:22",
        "ssh://root@example.com",
        "-l@example.com",
        "-oProxyCommand=id",
        "example.com/x",
        "root @example.com",
    ],
)
def test_any_other_target_is_refused(text: str) -> None:
    """Nothing is guessed: what does not fit is refused."""
    with pytest.raises(ConfigError):
        parse_target(text)


def test_a_place_has_the_port_and_brackets() -> None:
    """What forget-host-key is to be told can be copied from a message."""
    assert parse_target("root@[::1]").place == "[::1]:22"
    assert parse_target("example.com:2222").place == "example.com:2222"
