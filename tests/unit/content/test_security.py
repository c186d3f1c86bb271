"""The closed server: which ports stay open, what is seen of the kernel's rules, and that nobody is locked out."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils import ocore_conditions
from ansible.module_utils.ocore_checks import parse_chain, wrong_in
from ansible.module_utils.ocore_conditions import why_not
from ansible.module_utils.ocore_ssh import connection_port, parse_ports

from ocore.options import ProvisionOptions
from tests.unit.content.rendering import rendered
from tests.unit.content.test_look import StandIn
from tests.unit.content.test_verify import StandIn as StandInServer
from tests.unit.content.test_verify import expected
from tests.unit.test_content_agrees import ROLES, read, tasks_of

if TYPE_CHECKING:
    from pathlib import Path

SSH = {"ssh_ports": [22], "ssh_connection_port": 22}
CHAIN = {
    "nftables": [
        {"chain": {"name": "input", "policy": "drop"}},
        {"rule": {"expr": [{"match": {"left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": None}]}},
        {
            "rule": {
                "expr": [
                    {
                        "match": {
                            "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                            "right": {"set": [22, 80]},
                        }
                    },
                    {"accept": None},
                ]
            }
        },
    ]
}


def rules(*, facts: dict[str, Any] | None = None, **variables: Any) -> str:
    """Return the firewall's text."""
    text: str = rendered("__security_firewall", "security", facts=SSH | (facts or {}), **variables)["content"]
    return text


def opened(text: str) -> set[int]:
    """Return the ports that are open on the server itself."""
    [found] = re.findall(r"^\s+tcp dport \{ ([0-9, ]+) \} accept$", text, re.MULTILINE)
    return {int(port) for port in found.split(",")}


@pytest.mark.parametrize(
    ("facts", "variables", "ports"),
    [
        ({}, {}, {22, 80, 443}),
        ({"ssh_ports": [22, 2200]}, {}, {22, 2200, 80, 443}),
        # sshd's configuration was changed and it was not restarted: both stay open.
        ({"ssh_ports": [2200], "ssh_connection_port": 22}, {}, {22, 2200, 80, 443}),
        ({"ssh_ports": []}, {}, {22, 80, 443}),
        ({"ssh_ports": [], "ssh_connection_port": None}, {"security_ssh_ports": [2022]}, {2022, 80, 443}),
        ({}, {"security_web": False}, {22}),
        ({}, {"security_ports": "8080, 9000"}, {22, 80, 443, 8080, 9000}),
    ],
)
def test_which_ports_are_open(facts: dict[str, Any], variables: dict[str, Any], ports: set[int]) -> None:
    """Those of SSH by its configuration and by the connection, together; the proxy's; and what is named."""
    assert opened(rules(facts=facts, **variables)) == ports


def test_containers_ports_are_closed_by_the_port_that_was_asked_for() -> None:
    """SSH's is none of theirs; without a port to leave open no rule is half written."""
    assert "ct original proto-dst { 80, 443, 8080 } accept" in rules(security_ports="8080")
    nothing = rules(security_web=False)
    assert "proto-dst" not in nothing
    assert nothing.index("ct status dnat drop") < nothing.index("oifname")


def test_no_set_holds_a_wildcard() -> None:
    """The nft of Ubuntu 22.04 (1.0.2) takes `br-*` by itself, and in no set."""
    assert not re.findall(r"\{[^{}\n]*\*[^{}\n]*\}", rules())
    for device in ('"docker0"', '"br-*"'):
        assert re.findall(rf"^    (iifname|oifname) {re.escape(device)} (\w+)$", rules(), re.MULTILINE) == [
            ("iifname", "accept"),
            ("oifname", "drop"),
        ]


def test_rules_are_replaced_in_one_piece() -> None:
    """The old table goes in the same transaction that brings the new one."""
    lines = [line for line in rules().splitlines() if not line.startswith("#")]
    assert lines[:3] == ["add table inet ocore", "delete table inet ocore", "table inet ocore {"]


def test_it_is_off_by_default() -> None:
    """Then nothing of it is to be there."""
    assert {one["kind"] for one in rendered("security_state", "security", facts=SSH)} == {"absent"}
    present = rendered("security_state", "security", facts=SSH, security_enabled=True)
    ours = {one["path"] for one in present if one["kind"] == "file"}
    assert ours == {one["path"] for one in rendered("security_state", "security", facts=SSH) if "path" in one}


def test_the_playbook_opens_the_proxys_ports_only_for_a_proxy() -> None:
    """Where there is none, nobody would answer."""
    [play] = read(ROLES.parent / "playbooks" / "provision.yml")
    assert play["vars"]["security_web"] == "{{ proxy_kind != 'none' }}"


def test_nothing_is_changed_where_the_port_is_not_known() -> None:
    """The refusal is the first task, and knows both ways in which a port can be known."""
    first, *_ = read(ROLES / "security" / "tasks" / "main.yml")
    assert "ansible.builtin.fail" in first
    assert first["when"] == [
        "security_enabled | bool",
        "__security_connected is none",
        "security_ssh_ports | length == 0",
    ]
    assert rendered("__security_connected", "security", facts=SSH | {"ssh_connection_port": None}) is None


def test_the_timer_is_set_before_the_rules_are_loaded() -> None:
    """And they get to where they are loaded at a start only after a new connection has worked."""
    names = [task["name"] for task in read(ROLES / "security" / "tasks" / "rules.yml")]
    assert names.index("Set the timer that takes the new rules back") < names.index("Load the new rules and try them")
    present = [task["name"] for task in read(ROLES / "security" / "tasks" / "present.yml")]
    assert present.index("Load new rules, if we can still come in with them") < present.index("Write rules and unit")


def test_a_waiting_guard_has_its_say_before_its_file_is_overwritten() -> None:
    """Else it would load rules that a run which died has not tried."""
    names = [task["name"] for task in read(ROLES / "security" / "tasks" / "rules.yml")]
    assert names.index("Let the timer of a run that died take its rules back") < names.index("Keep the rules of before")


def test_systemd_forgets_whatever_unit_went() -> None:
    """The firewall's, or only the timer of updates: by what was removed, not by what was found first."""
    tasks = {task["name"]: task for task in read(ROLES / "security" / "tasks" / "absent.yml")}
    removed = tasks["Remove our settings"]["register"]
    assert tasks["Let systemd forget the units"]["when"] == f"{removed}.results | map(attribute='changed') is any"


def test_who_is_refused_is_told_what_can_be_done() -> None:
    """The port is no option: only a run by hand can name it."""
    first, *_ = read(ROLES / "security" / "tasks" / "main.yml")
    words = first["ansible.builtin.fail"]["msg"]
    named = set(re.findall(r"security_\w+", words))
    assert named == {"security_ssh_ports"}
    assert named.isdisjoint(ProvisionOptions().variables())
    assert "-e '{\"security_ssh_ports\": [22]}' in a run by hand" in words


def test_the_new_connection_goes_to_sshs_port() -> None:
    """To the one to which Ansible connects."""
    [step] = [task for task in tasks_of("provision") if task["name"] == "Step security"]
    assert step["vars"]["security_try_port"] == "{{ ansible_port | default(22, true) }}"


def test_sshds_ports_are_read() -> None:
    """With a port for all addresses, one for a single address, and other lines that look alike."""
    said = "port 22\nport 2200\nlistenaddress [::]:22\nlistenaddress 10.0.0.1:2222\nx11displayoffset 10\nportal 7\n"
    assert parse_ports(said) == [22, 2200, 2222]
    assert parse_ports("port 0\nport 70000\n") == []
    assert parse_ports("") == []


def process(proc: Path, pid: int, parent: int, environ: str = "") -> None:
    """Make a process of a /proc."""
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "status").write_text(f"Name:\tx\nPPid:\t{parent}\n")
    (folder / "environ").write_text(environ)


def test_the_connections_port_is_found_above_sudo(tmp_path: Path) -> None:
    """Sudo keeps the variable from what it runs; the shell above it has it."""
    process(tmp_path, 90, 1, "HOME=/\0SSH_CONNECTION=10.0.0.9 50022 10.0.0.1 2222\0LANG=C\0")
    process(tmp_path, 91, 90, "SUDO_USER=ops\0")
    process(tmp_path, 92, 91)
    assert connection_port(92, str(tmp_path)) == 2222


def test_without_a_connection_there_is_no_port(tmp_path: Path) -> None:
    """Neither at the end of the line of processes, nor where a variable only looks like it."""
    process(tmp_path, 1, 0)
    process(tmp_path, 92, 1, "NOT_SSH_CONNECTION=10.0.0.9 50022 10.0.0.1 2222\0SSH_CONNECTION=x\0")
    assert connection_port(92, str(tmp_path)) is None
    assert connection_port(4711, str(tmp_path)) is None


@pytest.mark.parametrize(
    ("kernel", "made", "reason"),
    [
        ("rules", "rules", None),
        ("", "rules", "the firewall's table inet ocore is not there"),
        ("others", "rules", "the firewall's table inet ocore is not what /f makes"),
        ("rules", "", "the firewall's table inet ocore is not what /f makes"),
    ],
)
def test_the_kernels_rules_are_those_of_the_file(
    monkeypatch: pytest.MonkeyPatch, kernel: str, made: str, reason: str | None
) -> None:
    """What the kernel has is compared with what nft makes of the file elsewhere."""
    monkeypatch.setattr(ocore_conditions, "output", lambda command: made if command[0] == "unshare" else kernel)
    assert why_not({"kind": "nftables", "name": "inet ocore", "path": "/f"}, StandIn()) == reason


@pytest.mark.parametrize(("kernel", "reason"), [("", None), ("rules", "the firewall's table inet ocore is there")])
def test_a_table_that_is_not_wanted_is_seen(monkeypatch: pytest.MonkeyPatch, kernel: str, reason: str | None) -> None:
    """A run that died may have left it without its unit; it is looked for wherever the server is to be open."""
    monkeypatch.setattr(ocore_conditions, "output", lambda _: kernel)
    [want] = [one for one in rendered("security_state", "security", facts=SSH) if "table" in one]
    assert why_not(want, StandIn()) == reason


def test_a_unit_that_runs_with_older_settings_does_not_hold(tmp_path: Path) -> None:
    """It was started before its file was last written."""
    (tmp_path / "jail").write_text("")
    want = {"kind": "unit", "name": "a.service", "active": True, "newer_than": [str(tmp_path / "jail")]}
    unit = {"Id": "a.service", "LoadState": "loaded", "ActiveState": "active"}
    old = StandIn(units={"a.service": unit | {"ActiveEnterTimestamp": "Tue 2020-11-24 22:04:43 UTC"}})
    new = StandIn(units={"a.service": unit | {"ActiveEnterTimestamp": "Tue 2099-11-24 22:04:43 UTC"}})
    assert "is older than" in str(why_not(want, old))
    assert why_not(want, new) is None


@pytest.mark.parametrize(
    ("chain", "sentences"),
    [
        (CHAIN, []),
        ({"nftables": CHAIN["nftables"][:2]}, ["the firewall does not name SSH's port 22"]),
        (
            {},
            ["the firewall lets in what no rule is about", "the firewall does not name SSH's port 22"],
        ),
    ],
)
def test_verify_reads_the_rules_its_own_way(chain: dict[str, Any], sentences: list[str]) -> None:
    """As JSON, from the kernel."""
    server = StandInServer()
    server.input_chain = lambda: parse_chain(json.dumps(chain))  # type: ignore[method-assign]
    assert wrong_in(["security"], expected(ssh_ports=[22]), server) == sentences
    assert wrong_in(["security"], expected(), server) == []
