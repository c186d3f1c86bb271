"""A site's own steps: how they are read, what is refused, and the playbook that comes of them."""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import ocore
from ocore import content, siteplay
from ocore.cli import main
from ocore.evidence import evidence
from ocore.inside.playing import Player
from ocore.site import FILE, changing_steps, registry
from ocore.steps import BY_NAME, STEPS
from ocore.testing import ReplayTransport
from tests.unit.content.rendering import rendered
from tests.unit.streams import begin, end, event, lines, look, mark, server, task
from tests.unit.test_bundle import unpacked

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "site"
SITE = ocore.Site.load(EXAMPLE)
NAMES = [step.name for step in STEPS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the example."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "site"))


def listed(folder: Path, *steps: dict[str, Any]) -> Path:
    """Write a list of steps, each with the example's role under its name."""
    (folder / FILE).write_text(yaml.safe_dump({"steps": list(steps)}))
    for name in {str(step.get("name")) for step in steps} - {"motd"}:
        if "/" not in name and not (folder / "roles" / name).exists():
            shutil.copytree(folder / "roles" / "motd", folder / "roles" / name)
            file = folder / "roles" / name / "vars" / "main.yml"
            file.write_text(file.read_text().replace("motd_state", f"{name}_state"))
    return folder


def test_the_example_is_read() -> None:
    """Its step stands where it says, and `verify` comes after it."""
    [step] = SITE.steps
    assert (step.name, step.timeout, step.needs) == ("motd", 120.0, ("runtime",))
    names = [one.name for one in registry(SITE)]
    assert names == [*NAMES[: NAMES.index("runtime") + 1], "motd", *NAMES[NAMES.index("runtime") + 1 :]]
    assert registry(SITE)[-1].needs == (*STEPS[-1].needs, "motd")
    assert registry(None) == STEPS
    assert "motd" in changing_steps(SITE)


def test_steps_of_a_site_keep_their_order(folder: Path) -> None:
    """Without `after` they stand before `verify`; after one step, in the order of the list; also after each other."""
    given = [
        {"name": "one", "does": "x"},
        {"name": "two", "does": "x", "after": "packages"},
        {"name": "three", "does": "x", "after": "packages", "needs": ["two"]},
        {"name": "four", "does": "x", "after": "two"},
        {"name": "five", "does": "x"},
    ]
    names = [step.name for step in registry(ocore.Site.load(listed(folder, *given)))]
    at = names.index("packages")
    assert names[at : at + 5] == ["packages", "two", "four", "three", NAMES[NAMES.index("packages") + 1]]
    assert names[-3:] == ["one", "five", "verify"]


GOOD = {"name": "one", "does": "x"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "must have the one key `steps`"),
        ([GOOD] * 21, "must have the one key `steps`"),
        (["one"], "step 1 must have name and does"),
        ([{"name": "one"}], "step 1 must have name and does"),
        ([GOOD | {"when": "x"}], "step 1 must have name and does"),
        ([GOOD | {"name": "One"}], "the name must be"),
        ([GOOD | {"name": "../x"}], "the name must be"),
        ([GOOD | {"name": "docker"}], "the name docker is taken"),
        ([GOOD | {"name": "cleanup"}], "the name cleanup is taken"),
        ([GOOD | {"name": "look"}], "the name look is taken"),
        ([GOOD, GOOD], "step 2: the name one is taken"),
        ([GOOD | {"does": "a\nb"}], "one: does must be one line"),
        ([GOOD | {"needs": ["none"]}], "one: needs must be a list of steps that come before it"),
        ([GOOD | {"needs": ["verify"]}], "one: needs must be a list"),
        ([GOOD | {"after": "verify"}], "one: after must be one of"),
        ([GOOD | {"after": "detect"}], "one: after must be one of"),
        ([GOOD | {"timeout": 0}], "one: timeout must be 1-3600 seconds"),
        ([GOOD | {"timeout": True}], "one: timeout must be"),
        (
            [GOOD | {"after": "packages", "needs": ["docker"]}],
            "it needs docker, which comes later; say `after: docker`",
        ),
    ],
)
def test_a_list_that_is_wrong_is_named(folder: Path, given: list[Any], words: str) -> None:
    """Before anything is contacted, with the step and the rule."""
    made = listed(folder, *given) if all(isinstance(one, dict) for one in given) else folder
    (made / FILE).write_text(yaml.safe_dump({"steps": given}))
    with pytest.raises(ocore.ConfigError) as raised:
        ocore.Site.load(made)
    assert raised.value.field == "site"
    assert words in str(raised.value)


@pytest.mark.parametrize("part", ["tasks/main.yml", "tasks/state.yml", "meta/argument_specs.yml"])
def test_a_role_that_lacks_a_part_is_named(folder: Path, part: str) -> None:
    """With the file that is missing."""
    (folder / "roles" / "motd" / part).unlink()
    with pytest.raises(ocore.ConfigError, match=f"there is no roles/motd/{part}"):
        ocore.Site.load(folder)


def test_what_else_is_refused(folder: Path) -> None:
    """A role without a state, one in the place of ours, a link to elsewhere, too much, and no list at all."""
    state = folder / "roles" / "motd" / "vars" / "main.yml"
    text = state.read_text()
    state.write_text(text.replace("motd_state", "motd_other"))
    with pytest.raises(ocore.ConfigError, match="must say motd_state"):
        ocore.Site.load(folder)
    state.write_text(text)
    link = folder / "roles" / "motd" / "tasks" / "more.yml"
    link.symlink_to("/etc/passwd")
    with pytest.raises(ocore.ConfigError, match="links are not followed"):
        ocore.Site.load(folder)
    link.unlink()
    (folder / "roles" / "docker" / "tasks").mkdir(parents=True)
    (folder / "roles" / "docker" / "tasks" / "main.yml").write_text("---\n")
    with pytest.raises(ocore.ConfigError, match="roles/docker has the name of a role of oCore's"):
        ocore.Site.load(folder)
    shutil.rmtree(folder / "roles" / "docker")
    (folder / "roles" / "motd" / "files").mkdir()
    (folder / "roles" / "motd" / "files" / "big").write_bytes(b"x" * (4 * 2**20))
    with pytest.raises(ocore.ConfigError, match="more than 500 files or 4 MiB"):
        ocore.Site.load(folder)
    for text in ("steps: [", "2026-99-99", "!!int ''", "!!bool x", "!!timestamp x", "[" * 5000, "9" * 5000):
        (folder / FILE).write_text(text)
        with pytest.raises(ocore.ConfigError, match="is not YAML"):
            ocore.Site.load(folder)
    with pytest.raises(ocore.ConfigError, match="cannot be read"):
        ocore.Site.load(folder / "none")


@pytest.mark.parametrize("name", [FILE, "roles"])
def test_the_list_and_the_roles_are_no_links_either(folder: Path, name: str) -> None:
    """Also where what they lead to would be right; the folder itself may be reached by one."""
    (folder / name).rename(folder.parent / "elsewhere")
    (folder / name).symlink_to(folder.parent / "elsewhere")
    with pytest.raises(ocore.ConfigError, match=f"{name} is .*; links are not followed"):
        ocore.Site.load(folder)
    (folder / name).unlink()
    (folder.parent / "elsewhere").rename(folder / name)
    (folder.parent / "link").symlink_to(folder)
    assert ocore.Site.load(folder.parent / "link").steps == SITE.steps


def play() -> dict[str, Any]:
    """Return the play with the example's step."""
    [found] = yaml.safe_load(siteplay.files(SITE)[siteplay.PLAYBOOK])
    return dict(found)


def test_the_playbook_has_a_site_s_step_as_ours() -> None:
    """Known, guarded by the look, tagged, looked at again, marked; and our own tasks are all there, in their order."""
    ours = [one["name"] for one in yaml.safe_load(content.playbook("provision").read_text())[0]["tasks"]]
    tasks = play()["tasks"]
    names = [one["name"] for one in tasks]
    assert [name for name in names if "motd" not in name] == ours
    assert names[names.index("Look again after runtime") + 1 :][:4] == [
        "Step motd", "Look again after motd", "Refuse what motd left undone", "Mark motd",
    ]  # fmt: skip
    step = tasks[names.index("Step motd")]
    assert step["ansible.builtin.include_role"] == {"name": "motd", "apply": {"tags": ["motd"]}}
    assert step["when"] == tasks[names.index("Mark motd")]["when"] == "'motd' in ocore_due"
    assert "motd" in tasks[names.index("Forget that the server was verified")]["tags"]
    assert play()["vars"]["verify_wants"].endswith(" + motd_state }}")
    verify = tasks[names.index("Step verify")]["vars"]["verify_steps"]
    assert "difference(['motd'])" in verify


def test_the_look_has_a_site_s_step_in_its_place() -> None:
    """With what it needs and wants; `verify` needs it."""
    [found] = yaml.safe_load(siteplay.files(SITE)[siteplay.LOOK])
    steps = {one["name"]: one for one in found["ocore_look"]["steps"]}
    assert list(steps) == list(changing_steps(SITE))
    assert steps["motd"] == {"name": "motd", "needs": ["runtime"], "wants": "{{ motd_state }}"}
    assert {name: tuple(one["needs"]) for name, one in steps.items()} == {
        one.name: one.needs for one in registry(SITE) if not one.validates
    }


def test_a_run_plays_what_was_read(folder: Path, tmp_path: Path) -> None:
    """The order carries the playbook and the roles: what the folder holds later does not count."""
    options = ocore.ProvisionOptions(site=ocore.Site.load(folder))
    shutil.rmtree(folder)
    way = ReplayTransport(lines(*begin(), look(), end()))
    ocore.provision(server(), options, transport=way)
    order = way.orders[-1]
    files = {name: base64.b64decode(data) for name, data in order["files"].items()}
    assert files == siteplay.files(SITE)
    player = object.__new__(Player)
    player._work = tmp_path
    playbook = player._playbook(order)
    assert playbook.name == "provision.yml"
    assert (playbook.parent / "roles/motd/tasks/main.yml").read_bytes() == files["roles/motd/tasks/main.yml"]
    ocore.cleanup(server(), options, transport=way)
    assert way.orders[-1]["files"] == {}


def test_a_site_s_step_has_a_row_and_a_clock_of_its_own() -> None:
    """It is in the results, needs its marker, and can be chosen; without a site there is no such step."""
    steps = {name: {"so": True, "conditions": 1, "reasons": []} for name in changing_steps(SITE)}
    steps["motd"] = {"so": False, "conditions": 2, "reasons": ["file is not there"]}
    seen = event("runner_on_ok", "Look at what is already so", look=steps, due=["motd"])
    ran = [*begin(), seen, *task("motd", "Write the message", changed=True)]
    options = ocore.ProvisionOptions(site=SITE)
    good = ocore.provision(
        server(), options, steps=["motd"], transport=ReplayTransport(lines(*ran, mark("motd"), end()))
    )
    assert good.ok, good.error
    [row] = [one for one in good.steps if one.step == "motd"]
    assert (row.status, row.changed) == ("success", 1)
    unmarked = ocore.provision(server(), options, transport=ReplayTransport(lines(*ran, end())))
    assert unmarked.error is not None
    assert "without the marker of: motd" in unmarked.error.message
    with pytest.raises(ocore.ConfigError, match="there is no step 'motd'"):
        ocore.provision(server(), steps=["motd"])


def test_a_plan_tells_of_the_site(folder: Path) -> None:
    """Its digest is that of the site as well: another role is another plan."""

    def planned(site: ocore.Site | None) -> ocore.Plan:
        way = ReplayTransport(lines(*begin()[:-2], look(), end()))
        return ocore.plan(server(), ocore.ProvisionOptions(site=site), transport=way)

    (folder / "roles" / "motd" / "README.md").write_text("other")
    plans = [planned(None), planned(SITE), planned(ocore.Site.load(folder))]
    assert len({one.content for one in plans}) == 3
    assert "motd" in [one.step for one in plans[1].steps]


def test_receipts_and_bundles_tell_of_the_site() -> None:
    """Its digest, and its roles among ours; `content` means the same in a plan, a receipt and a bundle."""
    options = ocore.ProvisionOptions(site=SITE)
    way = ReplayTransport(lines(*begin()[:-2], look(), end()))
    told = evidence(server(), options, ocore.provision(server(), options, transport=way))
    made_with = ocore.basis(options)
    assert told["site"] == made_with["site"] == SITE.digest
    assert told["roles"] == made_with["roles"] == {**content.role_digests(), **SITE.role_digests}
    assert set(SITE.role_digests) == {"motd"}
    planned = ocore.plan(server(), options, transport=ReplayTransport(lines(*begin()[:-2], look(), end())))
    assert told["content"] == made_with["content"] == planned.content == content.digest(SITE.digest)
    assert ocore.tools()["content"] == content.digest() != planned.content
    page = unpacked(ocore.debug_bundle(server(), ocore.DebugRun("r1"), options))["README.md"]
    assert f"`{planned.content}`" in page
    assert f'print(content.digest("{SITE.digest}"))' in page


def test_another_file_is_another_role(folder: Path) -> None:
    """The digest of a site's role is over its files, and that of one role has nothing of another."""
    before = ocore.Site.load(listed(folder, GOOD, GOOD | {"name": "two"})).role_digests
    (folder / "roles" / "two" / "README.md").write_text("other")
    after = ocore.Site.load(folder).role_digests
    assert [name for name in before if before[name] != after[name]] == ["two"]


def test_a_site_is_a_site() -> None:
    """A path is none: it has to be read first."""
    with pytest.raises(ocore.ConfigError, match="must be a Site"):
        ocore.ProvisionOptions(site=EXAMPLE)  # type: ignore[arg-type]


def test_the_command_line_takes_a_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It lists its steps, writes a playbook for hands, and says what is wrong with it."""
    assert main(["steps", "--site", str(EXAMPLE)]) == 0
    assert "tell who logs in that the server is managed" in capsys.readouterr().out
    assert main(["steps", "--site", str(tmp_path)]) == 2
    assert "site.yml cannot be read" in capsys.readouterr().err
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJcIJZqZDJ6zGNfFaUnNJj0Dcvyx0GWIRaAbJQDoyUWj"
    words = ["192.0.2.7", "--host-key", key, "--state-dir", str(tmp_path / "state"), "--site", str(EXAMPLE)]
    for _ in range(2):
        assert main(["inventory", *words, "--directory", str(tmp_path / "hand")]) == 0
    assert str(tmp_path / "hand" / "play" / "provision.yml") in capsys.readouterr().out
    assert (tmp_path / "hand" / "play" / "roles" / "motd" / "tasks" / "main.yml").exists()


def test_a_bundle_has_the_site_s_roles() -> None:
    """Elsewhere the site's folder is not there."""
    options = ocore.ProvisionOptions(site=SITE)
    files = unpacked(ocore.debug_bundle(server(), ocore.DebugRun("r1"), options))
    assert '"play/provision.yml"' in files["run.sh"]
    assert "motd_state" in files["play/roles/motd/vars/main.yml"]
    assert "their roles with all that is in them" in files["README.md"]
    assert "No key, password or token of the server is in here. The site's roles in `play/` are" in files["README.md"]
    assert ocore.basis(options)["site"] == SITE.digest
    assert "motd" not in BY_NAME


def test_the_agents_program_is_found_from_a_sites_playbook(tmp_path: Path) -> None:
    """That lies in a folder of its own, with the site's roles and none of ours beside it."""
    wanted = rendered("agent_state", "agent", agent_url="https://a", agent_token="x" * 20, playbook_dir=str(tmp_path))
    program = content.root() / "roles" / "agent" / "files" / "ocore_agent.py"
    [known] = [one["sha256"] for one in wanted if one.get("path", "").endswith("/ocore_agent.py")]
    assert known == hashlib.sha256(program.read_bytes()).hexdigest()
