"""What commands print: lines for people, objects for machines, errors with a remedy, exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocore.errors import ErrorCode, Failure
from ocore.models import Drift, RunStatus
from ocore.steps import STEPS as REGISTRY
from tests.unit.cli.fakes import DENIED, KEY, PLAN, TIME, FakeDoor, failed, result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.cli.conftest import Ran

    Ocore = Callable[..., Ran]

ANCHOR = ["--cores", "4", "--ram-mb", "8192", "--disk-gb", "140"]
SPECS_SHAPE = {
    "cpuCores": 4,
    "ramTotalBytes": 8192 * 2**20,
    "diskTotalBytes": 150 * 2**30,
    "diskFreeBytes": 140 * 2**30,
    "ownDiskBytes": 0,
    "osName": "Debian GNU/Linux",
    "osVersion": "13.1",
    "kernelVersion": "6.12.1-amd64",
    "architecture": "amd64",
    "dockerVersion": "26.1.5",
}


@pytest.fixture
def provision(ocore: Ocore, key_file: str) -> Ocore:
    """Return a function that provisions a server."""
    return lambda *words, **settings: ocore("provision", "h", "--key", key_file, *words, **settings)


def test_provision_tells_the_story_in_plain_lines(provision: Ocore) -> None:
    """Piped, each thing worth telling is a line: the host key, what changed or is waited for, how each step ended."""
    ran = provision()
    assert ran.code == 0
    assert ran.err == ""
    assert ran.out.splitlines()[:6] == [
        (
            f"Host key ssh-ed25519 {KEY.fingerprint} "
            "(seen for the first time, and pinned now: compare it with the server's console)"
        ),
        "connect     success          0.4 s  Logged in.",
        "packages    unchanged        0.0 s  Already so.",
        "docker      running",
        "docker      retry     Install Docker: apt holds the lock (try 2)",
        "docker      changed   Install Docker",
    ]


def test_provision_ends_with_a_summary(provision: Ocore) -> None:
    """Steps with durations, hardware, system, host key, capacity with its reasoning, and notes."""
    summary = provision().out.partition("\nSteps\n")[2].splitlines()
    assert summary[2] == "docker      success     2 min 05 s"
    assert summary[3:9] == [
        "",
        "System    Debian GNU/Linux 13.1, kernel 6.12.1-amd64, amd64",
        "Hardware  4 core(s), 8192 MB RAM, 150 GB disk (140 GB free)",
        "Docker    26.1.5",
        f"Host key  ssh-ed25519 {KEY.fingerprint}",
        "Note      A reboot is needed.",
    ]
    assert summary[9] == "Capacity  4 instance(s), 48 concurrent user(s)"
    assert summary[10] == "          RAM is the limit at 4 standard instance(s)."
    assert "Users: 9 worker(s)" in summary[-1]


def test_reduced_isolation_is_told(provision: Ocore) -> None:
    """Where a machine refuses namespaces, the run promises less, and says so."""
    assert "Isolation reduced" in provision(door=FakeDoor(result=result(isolation="reduced"))).out


def test_json_is_one_object_per_line(provision: Ocore) -> None:
    """Everything that happens is an object with a type, and the result is the last one."""
    ran = provision("--json")
    assert [one["type"] for one in ran.objects] == [
        "hostKey",
        *("stepStarted", "stepFinished") * 2,
        "stepStarted",
        *("task",) * 3,
        "stepFinished",
        "specs",
        "result",
    ]


def test_json_objects_have_the_documented_shapes(provision: Ocore) -> None:
    """Keys are camelCase, times are RFC 3339 in UTC with milliseconds."""
    by_type = {one["type"]: one for one in provision("--json").objects}
    host_key = {"type": KEY.type, "key": KEY.key, "fingerprint": KEY.fingerprint}
    step = {
        "step": "docker",
        "status": "success",
        "message": "2 of 5 task(s) changed something.",
        "startedAt": TIME,
        "completedAt": TIME,
        "durationMs": 125_000,
        "changed": 2,
        "tasks": 5,
        "error": None,
    }
    assert by_type["hostKey"] == {"type": "hostKey", "hostKey": host_key, "trust": "first"}
    assert by_type["stepStarted"] == {"type": "stepStarted", "step": "docker", "at": TIME}
    assert by_type["task"] == {
        "type": "task",
        "step": "docker",
        "task": "Install Docker",
        "kind": "changed",
        "message": "",
        "at": TIME,
    }
    assert by_type["stepFinished"] == {"type": "stepFinished", **step}
    assert by_type["specs"] == {"type": "specs", "specs": SPECS_SHAPE}
    last = by_type["result"]
    assert last["steps"][-1] == step
    assert last["capacity"].pop("reasoning").startswith("RAM is the limit")
    del last["steps"]
    assert last == {
        "type": "result",
        "command": "provision",
        "status": "success",
        "exitCode": 0,
        "error": None,
        "asked": {"steps": [], "force": False, "check": False},
        "runId": "run-1",
        "isolation": "full",
        "hostKey": host_key,
        "specs": SPECS_SHAPE,
        "notes": ["A reboot is needed."],
        "capacity": {
            "cpuAvailable": 3.92,
            "ramAvailableMB": 6248,
            "diskAvailableGB": 125,
            "maxInstances": 4,
            "maxConcurrentUsers": 48,
        },
    }


def test_a_failed_run_says_what_happened_and_what_to_do(provision: Ocore) -> None:
    """The error goes to standard error with its code and its remedy; the exit code is 1."""
    ran = provision(door=failed())
    assert ran.code == 1
    assert ran.err.splitlines() == [
        "ocore: The host does not accept the key of root. [auth_denied]",
        f"  What to do: {DENIED.remedy}",
    ]


def test_a_failed_run_is_an_object_too(provision: Ocore) -> None:
    """With --json the error is in the result, and standard error has it for people all the same."""
    ran = provision("--json", door=failed())
    assert ran.code == ran.last["exitCode"] == 1
    assert ran.last["status"] == "failed"
    assert ran.last["error"] == {
        "code": "auth_denied",
        "message": DENIED.message,
        "remedy": DENIED.remedy,
        "retryable": False,
    }
    assert "auth_denied" in ran.err


def test_an_error_that_may_pass_says_so(provision: Ocore) -> None:
    """Whether trying again without a change can help is part of the message."""
    ran = provision(door=failed(Failure(ErrorCode.CONNECT_TIMEOUT, "No answer.")))
    assert ran.err.splitlines()[-1] == "  Trying again without a change can help."


def test_a_changed_host_key_comes_with_the_command_that_accepts_it(provision: Ocore) -> None:
    """What has to be typed can be copied from the message."""
    ran = provision(door=failed(Failure(ErrorCode.HOST_KEY_CHANGED, "It changed.")))
    assert ran.err.splitlines()[-1] == "  To trust the new key: ocore forget-host-key h:22"
    given = provision("--host-key", KEY.fingerprint, door=failed(Failure(ErrorCode.HOST_KEY_CHANGED, "It changed.")))
    assert "forget-host-key" not in given.err


def test_a_cancelled_run_has_an_exit_code_of_its_own(provision: Ocore) -> None:
    """A script can tell that somebody stopped it from that it failed."""
    cancelled = FakeDoor(result=result(RunStatus.CANCELLED, Failure(ErrorCode.CANCELLED, "The run was cancelled.")))
    ran = provision("--json", door=cancelled)
    assert ran.code == 130
    assert ran.last["status"] == "cancelled"


@pytest.mark.parametrize("command", ["plan", "drift", "facts", "capacity"])
def test_a_server_that_cannot_be_read_is_a_failed_run(ocore: Ocore, key_file: str, command: str) -> None:
    """Commands that only read fail like those that change."""
    ran = ocore(command, "h", "--key", key_file, "--json", door=failed())
    assert ran.code == 1
    assert ran.last["command"] == command
    assert ran.last["error"]["code"] == "auth_denied"


def test_a_wrong_argument_is_an_object_too(ocore: Ocore) -> None:
    """With --json a configuration error is the result, and names the field."""
    ran = ocore("provision", "127.1", "--agent", "--json")
    assert ran.code == 2
    error = ran.last["error"]
    assert (ran.last["status"], error["code"], error["field"]) == ("failed", "config_error", "host")


def test_a_key_that_is_refused_keeps_its_code(ocore: Ocore) -> None:
    """A refused key has the code that the service gives it, too."""
    ran = ocore("provision", "h", "--key", "-", "--json", stdin="hunter2")
    assert ran.last["error"]["code"] == "key_invalid"
    assert "hunter2" not in ran.out + ran.err


@pytest.mark.parametrize("command", ["validate", "cleanup"])
def test_other_runs_end_with_a_result(ocore: Ocore, key_file: str, command: str) -> None:
    """Validation and cleaning up print the same kinds of lines."""
    door = FakeDoor()
    assert "Note      A reboot is needed." in ocore(command, "h", "--key", key_file, door=door).out
    last = ocore(command, "h", "--key", key_file, "--json", door=door).last
    assert (last["command"], last["runId"], len(last["steps"])) == (command, "run-1", 3)
    assert [call.name for call in door.calls] == [command] * 2


def test_plan_says_per_step_whether_it_runs_and_why(ocore: Ocore, key_file: str) -> None:
    """The lines name the reasons, and the hash comes last."""
    lines = ocore("plan", "h", "--key", key_file).out.splitlines()
    assert lines == [
        "connect     runs      validation always runs",
        "packages    unchanged",
        "docker      runs      package docker.io is not installed",
        "",
        "Content   c0ffee",
        f"Plan      {PLAN.hash}",
    ]


def test_plan_is_an_object_with_its_hash(ocore: Ocore, key_file: str) -> None:
    """What is hashed is all there, so that anybody can compute the hash again."""
    last = ocore("plan", "h", "--key", key_file, "--step", "docker", "--force", "--json").last
    assert last["hash"] == PLAN.hash
    assert {name: last[name] for name in PLAN.to_dict()} == PLAN.to_dict()


def test_drift_tells_what_is_broken_from_what_follows(ocore: Ocore, key_file: str) -> None:
    """Damaged steps and those that depend on them are told apart; the exit code says that there is drift."""
    ran = ocore("drift", "h", "--key", key_file)
    assert ran.code == 3
    assert ran.out.splitlines() == [
        "docker      drifted   docker.service is not active",
        "proxy       follows   depends on docker",
    ]
    last = ocore("drift", "h", "--key", key_file, "--json").last
    assert (last["drifted"], last["status"], last["exitCode"]) == (True, "success", 3)
    assert last["steps"][1] == {"step": "proxy", "so": True, "reasons": ["depends on docker"]}


def test_no_drift_is_exit_code_zero(ocore: Ocore, key_file: str) -> None:
    """A server that is as it was provisioned is what `drift` hopes for."""
    ran = ocore("drift", "h", "--key", key_file, door=FakeDoor(found=Drift(())))
    assert ran.code == 0
    assert ran.out == "No drift: the server is as it was provisioned.\n"


@pytest.mark.parametrize("command", ["plan", "drift", "facts", "capacity"])
def test_what_comes_by_pipe_is_the_result_alone(ocore: Ocore, key_file: str, command: str) -> None:
    """Commands that read write no progress to a pipe; a key that is new goes to standard error, once."""
    first, second = (ocore(command, "h", "--key", key_file) for _ in range(2))
    assert first.out == second.out
    assert "Logged in" not in first.out
    assert KEY.fingerprint in first.err
    assert second.err == ""


def test_facts_are_the_specs(ocore: Ocore, key_file: str) -> None:
    """Hardware and system are printed, and are one field of the result."""
    assert "Hardware  4 core(s), 8192 MB RAM, 150 GB disk (140 GB free)" in ocore("facts", "h", "--key", key_file).out
    assert ocore("facts", "h", "--key", key_file, "--json").last["specs"] == SPECS_SHAPE


def test_capacity_takes_a_server_or_figures_and_not_both(ocore: Ocore, key_file: str) -> None:
    """Figures beside a server would be passed over, so they are refused."""
    assert ocore("capacity", "h", "--key", key_file, "--cores", "4", door=FakeDoor()).code == 2


def test_capacity_comes_from_a_server_or_from_figures(ocore: Ocore, key_file: str) -> None:
    """Equal hardware gives an equal estimate, and figures contact nothing."""
    door = FakeDoor()
    by_figures = ocore("capacity", *ANCHOR, "--json", door=door)
    assert len(by_figures.objects) == 1
    assert door.calls == []
    by_server = ocore("capacity", "h", "--key", key_file, "--json", door=door)
    assert by_server.last["capacity"] == by_figures.last["capacity"]
    assert by_server.last["capacity"]["maxConcurrentUsers"] == 48


def test_capacity_has_profiles(ocore: Ocore) -> None:
    """Another size of instance gives another number."""
    assert ocore("capacity", *ANCHOR, "--profile", "heavy", "--json").last["capacity"]["maxInstances"] == 1
    assert "heavy instance(s)" in ocore("capacity", *ANCHOR, "--profile", "heavy").out


OWN = """
port = 8443
capacity_profile = "tiny"

[capacity]
disk_reserve_gb = 30
cpu_ladder = [[1, 0.5], [inf, 0]]

[capacity.profiles.tiny]
cores = 0.1
ram_mb = 300
disk_gb = 2
"""


def test_a_site_has_profiles_of_its_own(ocore: Ocore, tmp_path: Path) -> None:
    """They come from the service's settings file, with its other constants; what it says besides is passed over."""
    (tmp_path / "ocore.toml").write_text(OWN)
    own = ("--settings", str(tmp_path / "ocore.toml"), "--json")
    last = ocore("capacity", *ANCHOR, *own).last
    assert (last["profile"], last["capacity"]["maxInstances"], last["capacity"]["cpuAvailable"]) == ("tiny", 20, 3.5)
    assert last["capacity"]["diskAvailableGB"] == 110
    machine = ocore("size", "--users", "1", "--instances", "10", "--profile", "tiny", *own).last
    assert (machine["profile"], machine["machine"]["diskGB"]) == ("tiny", 50)
    ran = ocore("capacity", *ANCHOR, *own, "--profile", "heavy")
    assert (ran.code, ran.last["error"]["field"]) == (2, "--profile")
    assert "must be one of tiny" in ran.last["error"]["message"]


@pytest.mark.parametrize(
    "text",
    [
        "[capacity",
        "capacity = 1",
        "capacity_profile = 1",
        "[capacity]\nother = 1",
        "[capacity]\nram_ladder = [[1]]",
        "[capacity]\nprofiles = 1",
        "[capacity.profiles]\ntiny = 1",
        "[capacity.profiles.tiny]\ncores = 1",
        "[capacity.profiles.tiny]\ncores = 0\nram_mb = 1\ndisk_gb = 1",
    ],
)
def test_settings_that_are_wrong_are_usage_errors(ocore: Ocore, tmp_path: Path, text: str) -> None:
    """Named, and nothing is computed with them."""
    (tmp_path / "x.toml").write_text(text)
    for file in (tmp_path / "x.toml", tmp_path / "none"):
        ran = ocore("capacity", *ANCHOR, "--settings", str(file), "--json")
        assert (ran.code, ran.last["error"]["code"]) == (2, "config_error"), text
        assert ran.last["error"]["field"] == "--settings"


def test_steps_lists_the_registry(ocore: Ocore) -> None:
    """Every step is a line and an object, in order."""
    names = [step.name for step in REGISTRY]
    assert [line.split()[0] for line in ocore("steps").out.splitlines()] == names
    assert [one["step"] for one in ocore("steps", "--json").last["steps"]] == names


def test_a_character_that_the_terminal_lacks_is_spelled_out(
    provision: Ocore, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An encoding that is not UTF-8 ends no run."""
    file = tmp_path_factory.mktemp("out") / "out"
    with file.open("w", encoding="ascii") as narrow:
        monkeypatch.setattr("sys.stdout", narrow)
        ran = provision(door=FakeDoor(result=result(notes=("überall",))))
    assert ran.code == 0
    assert r"Note      \xfcberall" in file.read_text()
