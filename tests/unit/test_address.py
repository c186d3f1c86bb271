"""Hosts, users and ports: what they may look like, and which addresses are refused."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from ocore.errors import ConfigError, ErrorCode, Failure
from ocore.intake import address

GOOD = [
    ("192.0.2.1", "192.0.2.1"),
    ("2001:DB8::1", "2001:db8::1"),
    ("[2001:db8:0:0::1]", "2001:db8::1"),
    ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
    ("::ffff:c000:201", "::ffff:192.0.2.1"),
    ("example.com", "example.com"),
    ("Example.COM.", "example.com"),
    ("localhost", "localhost"),
    ("a-1.b2", "a-1.b2"),
    ("1e3", "1e3"),
    ("4.example", "4.example"),
    ("bücher.example", "xn--bcher-kva.example"),
    ("straße.de", "xn--strae-oqa.de"),
    ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
    (".".join(["a" * 63] * 3 + ["a" * 61]), ".".join(["a" * 63] * 3 + ["a" * 61])),
]

EVIL = [
    "",
    " ",
    ".",
    "..",
    "127.1",
    "127.0.1",
    "2130706433",
    "0",
    "0x7f000001",
    "0x7f.0.0.1",
    "127.0.0.0x1",
    "0177.0.0.1",
    "01.2.3.4",
    "1.2.3.256",
    "1.2.3.4.5",
    "127.0.0.1.",
    "127.0.0.1\n",
    "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
    "127\u30020\u30020\u30021",
    "\uff10x7f",
    "1.\uff10x7f",
    "\u0663.\u0664.\u0665.\u0666",
    "::1%lo",
    "fe80::1%25eth0",
    "[fe80::1%eth0]",
    ":::",
    "1:2:3",
    "[example.com]",
    "[192.0.2.1]",
    "[::1",
    "::1]",
    "[]",
    "-oProxyCommand=id",
    "-example.com",
    "example-.com",
    "a..b",
    ".a",
    "a_b.example",
    "example.com:22",
    "root@example.com",
    "ssh://example.com",
    "example.com/x",
    "exam ple.com",
    "example.com\nb",
    "example.com\0",
    "{{ lookup('pipe','id') }}",
    "{{7*7}}.example",
    "$(id).example",
    "`id`.example",
    "a'b.example",
    'a"b.example',
    "a\\b.example",
    "a,b",
    "a;b",
    "a*b",
    "\U0001f680",
    "a\u202eb.example",
    "\ud800.example",
    "a" * 64 + ".example",
    ".".join(["a" * 63] * 4),
    "a" * 256,
    None,
    5,
    b"example.com",
]


@pytest.mark.parametrize(("given", "normal"), GOOD)
def test_a_host_is_brought_to_its_normal_form(given: str, normal: str) -> None:
    """A good host is accepted, and its normal form is one that is accepted unchanged."""
    assert address.check_host(given) == normal
    assert address.check_host(normal) == normal


@pytest.mark.promise("A8", "A1")
@pytest.mark.parametrize("given", EVIL, ids=ascii)
def test_a_host_that_is_anything_else_is_refused(given: object) -> None:
    """What the C library, a shell, ssh or Ansible could read otherwise is refused, by the field's name."""
    with pytest.raises(ConfigError) as caught:
        address.check_host(given)
    assert caught.value.field == "host"


@pytest.mark.parametrize("user", ["root", "_x", "a.b-c_d9", "u" * 64])
def test_a_user_of_the_grammar_is_accepted(user: str) -> None:
    """A user as Linux distributions make them is accepted as it is."""
    assert address.check_user(user) == user


@pytest.mark.promise("A1")
@pytest.mark.parametrize("user", ["", "Root", "9a", "-l", "a b", "a@b", "a\n", "é", "a$", "{{x}}", "u" * 65, None, 0])
def test_a_user_of_another_grammar_is_refused(user: object) -> None:
    """A user that could be read as an option or a template is refused."""
    with pytest.raises(ConfigError, match=r"^user: "):
        address.check_user(user)


@pytest.mark.parametrize("port", [1, 22, 65535])
def test_a_port_in_range_is_accepted(port: int) -> None:
    """Every port that TCP has is accepted."""
    assert address.check_port(port) == port


@pytest.mark.parametrize("port", [0, -1, 65536, True, 22.0, "22", None])
def test_a_port_that_is_none_is_refused(port: object) -> None:
    """A port out of range or of another type, also a boolean, is refused."""
    with pytest.raises(ConfigError, match=r"^port: "):
        address.check_port(port)


REFUSED = [
    ("0.0.0.0", "no host"),
    ("0.1.2.3", "no host"),
    ("::", "no host"),
    ("224.0.0.1", "many hosts"),
    ("255.255.255.255", "many hosts"),
    ("ff02::1", "many hosts"),
    ("169.254.169.254", "link-local"),
    ("fe80::1", "link-local"),
    ("fd00:ec2::254", "link-local"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("::1", "loopback"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:169.254.169.254", "link-local"),
    ("::ffff:0.0.0.0", "no host"),
    ("64:ff9b::7f00:1", "loopback"),
    ("64:ff9b::a9fe:a9fe", "link-local"),
    ("64:ff9b:1::7f00:1", "loopback"),
    ("2002:7f00:1::", "loopback"),
    ("2002:a9fe:a9fe::1", "link-local"),
    # Teredo: the client's address is the last 32 bits, inverted.
    ("2001:0:c000:201:0:0:80ff:fffe", "loopback"),
    ("2001:0:7f00:1::", "loopback"),
]


@pytest.mark.promise("A8")
@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_an_address_that_leads_elsewhere_is_refused(text: str, reason: str) -> None:
    """What stands for no host, many hosts, metadata or this machine is refused, also when wrapped in IPv6."""
    refusal = address.refusal(ipaddress.ip_address(text), address.Reach())
    assert refusal
    assert reason in refusal


@pytest.mark.parametrize(
    "text", ["192.0.2.1", "10.0.0.5", "2001:db8::1", "fd00::1", "64:ff9b::c000:201", "2002:c000:201::"]
)
def test_an_ordinary_address_is_allowed(text: str) -> None:
    """Public and private addresses are servers like any other."""
    assert address.refusal(ipaddress.ip_address(text), address.Reach()) is None


@pytest.mark.parametrize("text", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_can_be_allowed(text: str) -> None:
    """Loopback is refused only where it was not allowed."""
    assert address.refusal(ipaddress.ip_address(text), address.Reach(loopback=True)) is None


@pytest.mark.parametrize("text", ["169.254.169.254", "0.0.0.0", "::", "fd00:ec2::254"])
def test_allowing_loopback_allows_nothing_else(text: str) -> None:
    """The other refusals stand whatever is allowed of loopback."""
    assert address.refusal(ipaddress.ip_address(text), address.Reach(loopback=True))


@pytest.mark.promise("A8")
@pytest.mark.parametrize(
    "text",
    [
        *("10.0.0.5", "172.16.0.1", "192.168.3.4", "100.64.0.1", "fd00::1", "::ffff:10.1.2.3"),
        *("192.0.0.8", "198.18.0.1", "198.19.255.254", "240.0.0.1", "fec0::1"),
    ],
)
def test_private_networks_can_be_refused(text: str) -> None:
    """Where a site says so, addresses of private networks are refused; public ones stay allowed."""
    deny = address.Reach(private=False)
    assert address.refusal(ipaddress.ip_address(text), deny) == "it is in a private network"
    assert address.refusal(ipaddress.ip_address("192.0.2.1"), deny) is None


@pytest.mark.promise("A8")
def test_an_address_of_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that this machine has on an interface leads to itself, as loopback does."""
    own = _own_address()
    if own is None:
        monkeypatch.setattr(address, "_is_own", lambda _: True)  # a machine without any network
        own = "192.0.2.9"
    assert address.refusal(ipaddress.ip_address(own), address.Reach()) == "it is this machine's own address"
    assert address.refusal(ipaddress.ip_address(own), address.Reach(loopback=True)) is None


def _own_address() -> str | None:
    """Return an address of an interface of this machine other than loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = str(asking.getsockname()[0])
    return None if found.startswith("127.") else found


def test_a_literal_resolves_to_itself() -> None:
    """An address is connected to as it is."""
    assert address.resolve("192.0.2.7", 22, address.Reach()) == "192.0.2.7"


@pytest.mark.promise("A8")
def test_a_name_with_one_address_that_is_refused_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a name's addresses count, and each time anew: a name may lead elsewhere when it is looked up again."""
    answers = [["192.0.2.7", "2001:db8::1"], ["192.0.2.7", "169.254.169.254"], ["::1", "192.0.2.7"], ["192.0.2.7"]]

    def look_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert (host, port) == ("two.example", 22)
        return [(socket.AF_UNSPEC, socket.SOCK_STREAM, 6, "", (text, port)) for text in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    found = [address.resolve("two.example", 22, address.Reach()) for _ in range(len(answers))]
    assert (found[0], found[3]) == ("192.0.2.7", "192.0.2.7")
    for failure, refused in ((found[1], "169.254.169.254"), (found[2], "::1")):
        assert isinstance(failure, Failure)
        assert failure.code is ErrorCode.ADDRESS_REFUSED
        assert f"two.example ({refused})" in failure.message


def test_loopback_is_refused_when_resolving() -> None:
    """Resolving gives a failure that names the address and the reason."""
    failure = address.resolve("127.0.0.1", 22, address.Reach())
    assert isinstance(failure, Failure)
    assert failure.code is ErrorCode.ADDRESS_REFUSED
    assert "127.0.0.1" in failure.message
