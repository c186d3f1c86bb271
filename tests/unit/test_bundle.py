"""Debug bundles: what is in them, what is not, and that Ansible takes it."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
import yaml

import ocore
from ocore import bundle, content
from tests.unit.keymaker import private_key
from tests.unit.streams import HOST_KEY

if TYPE_CHECKING:
    from pathlib import Path

KEY = ocore.HostKey.parse(HOST_KEY)
PASSWORD = "canary-of-a-password-4711"


def unpacked(data: bytes) -> dict[str, str]:
    """Return the files of a bundle by their names; all are in one folder, and for their owner only."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for entry in archive.getmembers():
            folder, _, name = entry.name.partition("/")
            assert folder.startswith("ocore-debug-")
            assert entry.isfile()
            assert entry.mode & 0o077 == 0
            file = archive.extractfile(entry)
            assert file is not None
            found[name] = file.read().decode()
    return found


def server(user: str = "root", *, key: ocore.HostKey | None = KEY) -> ocore.Server:
    """Return a server with secrets."""
    secrets = ocore.Credentials(private_key=private_key("ed25519"), sudo_password=PASSWORD)
    return ocore.Server("192.0.2.7", secrets, user=user, host_key=key, id="web-1")


def test_a_bundle_has_what_a_run_by_hand_needs() -> None:
    """Inventory, pin, variables, versions and the command, and what the run told."""
    options = ocore.ProvisionOptions(proxy="nginx", apt_proxy="http://192.0.2.1:3142")
    run = ocore.DebugRun("r1", login="key", steps=["proxy"], force=True, record={"events.jsonl": "{}\n"})
    files = unpacked(ocore.debug_bundle(server(), run, options))
    told = yaml.safe_load(files["inventory.yml"].replace("!unsafe", ""))["all"]["hosts"]["server"]
    assert (told["ansible_host"], told["proxy_kind"], told["runtime_server_id"]) == ("192.0.2.7", "nginx", "web-1")
    assert told["packages_apt_proxy"] == "http://192.0.2.1:3142"
    assert json.loads(files["variables.json"]) == {"ocore_force": True, "ocore_steps": ["proxy"]}
    versions = json.loads(files["versions.json"])
    assert versions["content"] == content.digest()
    assert set(versions["roles"]) == {path.name for path in (content.root() / "roles").iterdir()}
    assert versions["versions"]["ansible-core"] in files["README.md"]
    assert HOST_KEY in files["known_hosts"]
    assert files["run.sh"].rstrip().endswith('"$@" "$checkout/playbooks/provision.yml"')
    assert files["events.jsonl"] == "{}\n"
    assert all(f"`{name}`" in files["README.md"] for name in files if name != "README.md")


def test_no_credential_is_in_a_bundle() -> None:
    """Neither the key nor the password; the page says where they are asked for."""
    files = unpacked(ocore.debug_bundle(server("admin"), ocore.DebugRun("r1", login="key")))
    text = "".join(files.values())
    assert not [line for line in private_key("ed25519").splitlines() if line in text]
    assert PASSWORD not in text
    assert "--private-key KEY --ask-become-pass" in files["README.md"]


def test_a_variable_that_is_a_secret_by_its_name_is_a_placeholder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever options there will be: a token is neither in what a run was made with nor in a bundle."""
    variables = {"agent_token": PASSWORD, "agent_url": "https://example.org", "agent_password": ""}
    monkeypatch.setattr(ocore.ProvisionOptions, "variables", lambda _: variables)
    assert ocore.basis()["variables"] == variables | {"agent_token": bundle.FILL_IN}
    stored = ocore.basis() | {"variables": variables}
    for basis in (None, stored):
        files = unpacked(ocore.debug_bundle(server(), ocore.DebugRun("r1", basis=basis)))
        assert PASSWORD not in "".join(files.values())
        assert "where it says FILL-IN: `agent_token`" in files["README.md"]


def test_what_a_run_was_made_with_goes_before_what_there_is_now() -> None:
    """The bundle of an old run has that run's variables and digests."""
    then = ocore.basis(ocore.ProvisionOptions(proxy="none")) | {"content": "0" * 64}
    files = unpacked(ocore.debug_bundle(server(), ocore.DebugRun("r1", basis=then), ocore.ProvisionOptions()))
    assert '"proxy_kind": "none"' in files["inventory.yml"]
    assert json.loads(files["versions.json"])["content"] == "0" * 64


def test_where_there_is_an_agent_its_token_is_to_be_filled_in(tmp_path: Path) -> None:
    """Without one the step `agent` would be passed over, and could not fail again; the script waits for it."""
    options = ocore.ProvisionOptions(agent_url="https://ocore.example.org")
    for kind in ("provision", "drift"):
        files = unpacked(ocore.debug_bundle(server(), ocore.DebugRun("r1", kind=kind, login="key"), options))
        assert '"agent_token": "FILL-IN"' in files["inventory.yml"]
        assert "where it says FILL-IN: `agent_token`" in files["README.md"]
        assert "/etc/ocore/agent/token" in files["README.md"]
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        done = subprocess.run(["sh", "run.sh", "."], cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
        assert (done.returncode, "still says FILL-IN" in done.stderr) == (2, True)
    assert "agent_token" not in "".join(unpacked(ocore.debug_bundle(server(), ocore.DebugRun("r1"))).values())
    clean = unpacked(ocore.debug_bundle(server(), ocore.DebugRun("r1", kind="cleanup"), options))
    assert "agent_token" not in "".join(clean.values())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("validate", ["playbooks/validate.yml"]),
        ("drift", ["--tags look", "playbooks/provision.yml"]),
        ("cleanup", ["playbooks/cleanup.yml"]),
    ],
)
def test_each_kind_of_run_has_its_command(kind: str, words: list[str]) -> None:
    """The script plays the playbook of that kind, with its tags."""
    script = unpacked(ocore.debug_bundle(server(), ocore.DebugRun("r1", kind=kind)))["run.sh"]
    assert all(word in script for word in words)


def test_without_a_pin_ssh_asks(tmp_path: Path) -> None:
    """No file of known hosts is named then, and the page says what happens."""
    files = unpacked(ocore.debug_bundle(server(key=None), ocore.DebugRun("r1")))
    assert "known_hosts" not in files
    assert "ssh_common_args" not in files["inventory.yml"]
    assert "no host key is pinned" in files["README.md"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fields", [{"name": "../x"}, {"name": "a b"}, {"name": "r1", "kind": "other"}])
def test_names_that_cannot_be_are_refused(fields: dict[str, str]) -> None:
    """A name becomes a folder, a kind a command."""
    with pytest.raises(ocore.ConfigError):
        ocore.DebugRun(**fields)  # type: ignore[arg-type]
