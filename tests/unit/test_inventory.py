"""Whatever a field holds, Ansible gets it literally: checked with Ansible's own loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import is_trusted_as_template, trust_as_template
from hypothesis import example, given
from hypothesis import strategies as st

import ocore
from ocore import inventory
from tests.unit.streams import HOST_KEY, server


def loaded(values: dict[str, Any]) -> dict[str, Any]:
    """Return the host's variables as Ansible reads them."""
    document = DataLoader().load(trust_as_template(inventory.render(values)))
    variables: dict[str, Any] = document["all"]["hosts"]["server"]
    return variables


@given(st.text())
@example("{{ lookup('pipe', 'touch /tmp/owned') }}")
@example("")
@example("123")
@example("yes")
@example("~")
@example("2026-11-24")
@example("\x7f\x85\u2028\ufeff")
@example("\U0001f600")
@example('" }\n  other: !unsafe "')
def test_any_text_comes_out_literal(text: str) -> None:
    """Any Unicode text is the same text to Ansible, and no template."""
    found = loaded({"value": text, "number": 22, "truth": True})

    assert isinstance(found["value"], str)
    assert str(found["value"]) == text
    assert not is_trusted_as_template(found["value"])
    assert found["number"] == 22
    assert found["truth"] is True


def test_what_has_no_literal_form_is_refused() -> None:
    """A list is not spelled, rather than spelled wrongly."""
    with pytest.raises(TypeError):
        inventory.render({"value": ["a"]})


def test_the_connection_goes_to_the_checked_address() -> None:
    """The host's name is not in what the engine's Ansible gets."""
    named = ocore.Server("db.example.org", ocore.Credentials(password="secret words"), user="ops", port=2222)
    found = inventory.connection(named, "192.0.2.9", interpreter="/usr/bin/python3", become=True)

    assert found["ansible_host"] == "192.0.2.9"
    assert "db.example.org" not in inventory.render(found)
    assert found["ansible_become_password"] == "secret words"


def test_the_files_for_hands_hold_no_secret(tmp_path: Path) -> None:
    """What a person gets names the key's file and pins the host key, and holds no password."""
    pinned = server(host_key=ocore.HostKey.parse(HOST_KEY))
    files = inventory.write_for_hands(tmp_path, pinned, ocore.ProvisionOptions(), key_file=Path("id_test"))

    texts = [file.read_text(encoding="utf-8") for file in files]
    assert not any("not a secret" in text for text in texts)
    assert HOST_KEY in texts[1]
    assert "id_test" in texts[0]


def test_every_option_sets_a_variable_that_its_role_knows() -> None:
    """Each option's role variable is declared in that role's argument specs."""
    specs = Path(inventory.__file__).parents[1] / "roles"
    for name in ocore.ProvisionOptions().variables():
        role = name.partition("_")[0]
        assert f"{name}:" in (specs / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"), name


def test_the_agents_token_is_in_no_file_for_hands(tmp_path: Path) -> None:
    """The engine hands it on, literally; what a person is given for a run by hand does not have it."""
    token = "oca_" + "t" * 40
    pinned = server(host_key=ocore.HostKey.parse(HOST_KEY), agent_token=token)
    files = inventory.write_for_hands(tmp_path, pinned, ocore.ProvisionOptions(agent_url="https://ocore.example.org"))
    assert not [file for file in files if token in file.read_text(encoding="utf-8")]
    assert loaded(inventory.secrets(pinned)) == {"agent_token": token}
    assert inventory.secrets(server()) == {}
