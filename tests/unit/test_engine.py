"""Runs over streams that no real host gives on demand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import ocore
from ocore.testing import ReplayTransport
from tests.unit import streams
from tests.unit.streams import begin, end, event, lines, login, look, mark, server, task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from ocore.transport import Process


def provision(*answers: dict[str, object], hang: bool = False, **arguments: object) -> ocore.RunResult:
    """Provision over a stream."""
    transport = ReplayTransport(lines(*answers), hang=hang)
    return ocore.provision(server(), transport=transport, **arguments)  # type: ignore[arg-type]


def statuses(result: ocore.RunResult) -> dict[str, str]:
    """Return each step's status."""
    return {step.step: str(step.status) for step in result.steps}


def test_what_is_already_so_is_unchanged() -> None:
    """A run that finds everything so validates, and leaves every other step unchanged."""
    result = provision(*begin(), look(), end())

    assert result.ok
    assert set(list(statuses(result).values())[:4]) == {"success"}
    assert set(list(statuses(result).values())[4:]) == {"unchanged"}
    assert result.specs is not None
    assert result.specs.cpu_cores == 4


def test_due_steps_run_and_the_others_are_unchanged() -> None:
    """Steps before the first due one are unchanged, due ones end by their marker."""
    result = provision(
        *begin(),
        look("docker", "verify"),
        *task("docker", "Install Docker's packages", changed=True),
        mark("docker"),
        *task("verify", "Verify"),
        mark("verify"),
        end(),
    )

    assert statuses(result) == dict.fromkeys(("connect", "privileges", "detect", "preflight"), "success") | {
        "packages": "unchanged",
        "swap": "unchanged",
        "security": "unchanged",
        "docker": "success",
        "runtime": "unchanged",
        "proxy": "unchanged",
        "agent": "unchanged",
        "verify": "success",
    }
    assert [step.step for step in result.steps if step.changed] == ["docker"]


def test_the_agents_token_is_handed_on_and_told_to_nobody() -> None:
    """It is among the variables of the play; a message that repeats it does not."""
    token = "oca_" + "t" * 40
    failed = event("runner_on_failed", "Write the token", "agent", msg=f"cannot write {token}")
    transport = ReplayTransport(lines(*begin(), look("agent"), failed, end(2)))
    result = ocore.provision(server(agent_token=token), transport=transport)

    assert f'"agent_token": "{token}"' in transport.orders[1]["inventory"]
    assert result.error is not None
    assert "cannot write [hidden]" in result.error.message
    assert token not in repr(result)


def test_what_a_role_looks_at_decides_nothing_of_the_others() -> None:
    """A role's own look is about its own things: what the play's look said is due must still be marked."""
    own = {"proxy": {"so": True, "conditions": 1, "reasons": []}}
    looked = event("runner_on_ok", "Look whether it runs", "proxy", look=own, due=[])
    result = provision(*begin(), look("proxy", "verify"), *task("proxy", "Run"), looked, mark("proxy"), end())

    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.INTERNAL
    assert "verify" in result.error.message


def test_a_missing_marker_fails_the_run() -> None:
    """Code 0 without a due step's marker is a failure, and names the step."""
    result = provision(*begin(), look("docker"), *task("docker", "Install"), end())

    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.INTERNAL
    assert "docker" in result.error.message


def test_a_marker_with_another_nonce_does_not_count() -> None:
    """Only the run's own nonce ends a step."""
    result = provision(*begin(), look("docker"), *task("docker", "Install"), mark("docker", nonce="0" * 32), end())

    assert not result.ok


def test_events_of_another_playbook_do_not_count() -> None:
    """A forged event carries another playbook id, and changes nothing."""
    forged = event("runner_on_failed", "Install", "docker", playbook="forged", msg="no")
    facts = event("runner_on_ok", "Read", "detect", playbook="forged", facts={"cpu_cores": 4096})
    result = provision(*begin(), forged, facts, look(), end())

    assert result.ok
    assert result.specs is not None
    assert result.specs.cpu_cores == 4


def test_a_failed_task_is_named_and_the_rest_is_skipped() -> None:
    """The failure names the task, and steps after it are skipped."""
    failed = event("runner_on_failed", "Install Docker's packages", "docker", msg="E: no space left")
    result = provision(*begin(), look("docker", "runtime"), *task("docker", "Ask"), failed, end(2))

    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.STEP_FAILED
    assert "Install Docker's packages" in result.error.message
    assert "no space left" in result.error.message
    assert statuses(result)["docker"] == "failed"
    assert statuses(result)["runtime"] == "skipped"


def test_a_role_names_its_own_code() -> None:
    """A message that begins with a code of the closed set gives that code; others are step_failed."""
    coded = event("runner_on_failed", "Check", "preflight", msg="[port_in_use] nginx (pid 7) holds port 80.")
    result = provision(*begin()[:5], coded, end(2))

    assert result.error == ocore.Failure(ocore.ErrorCode.PORT_IN_USE, "nginx (pid 7) holds port 80.")

    unknown = event("runner_on_failed", "Check", "preflight", msg="[worker_lost] no")
    result = provision(*begin()[:5], unknown, end(2))
    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.STEP_FAILED


def test_a_rescued_failure_is_no_failure() -> None:
    """A role that rescues a failed task goes on to its marker, and the step succeeds."""
    failed = event("runner_on_failed", "Restart Docker", "docker", msg="no")
    rescue = task("docker", "Put the old configuration back", changed=True)
    result = provision(*begin(), look("docker"), *task("docker", "Ask"), failed, *rescue, mark("docker"), end())

    assert result.ok
    assert statuses(result)["docker"] == "success"


def test_what_a_rescue_says_is_the_runs_error() -> None:
    """Where the rescue fails with a code of its own, that is the error, and not what it tried to rescue."""
    failed = event("runner_on_failed", "Read the facts", "detect", msg="/usr/bin/python3: not found")
    coded = event("runner_on_failed", "Say why", "detect", msg="[python_missing] There is no Python on the server.")
    result = provision(login(), event("playbook_on_start"), failed, coded, end(2))

    assert result.error == ocore.Failure(ocore.ErrorCode.PYTHON_MISSING, "There is no Python on the server.")
    assert statuses(result)["detect"] == "failed"


def test_a_failure_between_the_steps_keeps_its_code() -> None:
    """A task outside any role that fails or loses the host is not called internal."""
    lost = event("runner_on_unreachable", "Look at what is already so", msg="Connection reset")
    result = provision(*begin(), lost, end(4))

    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.CONNECTION_LOST


def test_a_run_that_did_not_look_is_no_success() -> None:
    """Code 0 without a reading is a failure: nothing is known to be so."""
    result = provision(*begin(), end())

    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.INTERNAL


def test_a_dropped_start_does_not_hide_a_step() -> None:
    """A step whose tasks' starts were dropped on the way is still seen to run, by whatever arrived."""
    arrived = event("runner_on_ok", "Install", "docker", changed=True)
    result = provision(*begin(), look("docker"), arrived, mark("docker"), end())

    assert statuses(result)["docker"] == "success"
    assert statuses(result)["packages"] == "unchanged"


def test_what_goes_wrong_inside_is_a_value_too() -> None:
    """An error of our own ends the run as internal, with every step accounted for."""

    class Broken(ReplayTransport):
        def start(self, server: ocore.Server) -> Process:  # noqa: ARG002 - the protocol's shape
            raise OSError("no more processes")

    result = ocore.provision(server(), transport=Broken(lines()))

    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.INTERNAL
    assert "no more processes" in result.error.message
    assert len(result.steps) == len(ocore.STEPS)


def test_an_unreachable_host_is_a_lost_connection() -> None:
    """Unreachable in the middle of a run is connection_lost."""
    lost = event("runner_on_unreachable", "Install", "docker", msg="Connection reset")
    result = provision(*begin(), look("docker"), *task("docker", "Ask"), lost, end(4))

    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.CONNECTION_LOST


def test_an_end_without_a_word_is_a_lost_worker() -> None:
    """A process that ends without saying how is worker_lost."""
    result = provision(*begin(), look("docker"))

    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.WORKER_LOST


def test_an_ansible_that_was_killed_is_a_lost_worker() -> None:
    """What the kernel's out-of-memory killer does is nothing to be reported as a fault of ours."""
    result = provision(*begin(), look("docker"), end(None))

    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.WORKER_LOST


TRACED = """[ERROR]: Failure in callback:
Traceback (most recent call last):
  File "task_queue_manager.py", line 450, in send_callback
    method(*args)
OSError: [Errno 28] No space left on device
"""


def test_a_traceback_of_ansible_is_told_by_its_last_line() -> None:
    """What went wrong is for the reader; where in Ansible's code it did is not."""
    said = {"type": "event", "event": "verbose", "result": {}, "text": TRACED}
    result = provision(*begin(), look("docker"), said, end(1))

    assert result.error is not None
    assert result.error.message == "Failure in callback: OSError: [Errno 28] No space left on device"


def test_an_end_that_nothing_explains_is_explained_by_the_lack_of_room() -> None:
    """Where there is no room for Ansible's files, there is none either for the event that would have said so."""
    result = provision(*begin(), look("docker"), end(1) | {"full": True})

    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.STEP_FAILED
    assert "No space left on device" in result.error.message


def test_cancel_stops_a_run_that_hangs() -> None:
    """A set event ends the run; the open step and those after it are cancelled."""
    cancel = threading.Event()

    class CancelInDocker(ocore.NullRecorder):
        def task_event(self, event: ocore.TaskEvent) -> None:
            if event.step == "docker":
                cancel.set()

    answers = (*begin(), look("docker"), *task("docker", "Ask"))
    result = provision(*answers, hang=True, cancel=cancel, recorder=CancelInDocker())

    assert result.status is ocore.RunStatus.CANCELLED
    assert statuses(result)["docker"] == "cancelled"
    assert statuses(result)["verify"] == "cancelled"


def test_a_run_has_a_time_limit() -> None:
    """A run that takes longer than its limit ends as run_timeout."""
    result = provision(*begin(), hang=True, timeout=0.05)

    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.RUN_TIMEOUT


def test_a_recorder_that_raises_stops_the_run() -> None:
    """What the recorder raised comes out, chained, and it is told nothing more."""
    told: list[str] = []

    class Broken(ocore.NullRecorder):
        def step_started(self, step: str, at: datetime) -> None:  # noqa: ARG002 - the protocol's shape
            told.append(step)
            if step == "detect":
                raise OSError("disk full")

    with pytest.raises(ocore.RecorderError) as caught:
        provision(*begin(), look(), end(), recorder=Broken())

    assert isinstance(caught.value.__cause__, OSError)
    assert told == ["connect", "privileges", "detect"]


def test_a_recorder_that_raises_lets_the_step_end() -> None:
    """A step that changes the server is not cut off because a log is full: the run stops after its marker."""
    seen: list[str] = []

    class Broken(ocore.NullRecorder):
        def task_event(self, event: ocore.TaskEvent) -> None:
            if event.step == "docker":
                raise OSError("disk full")

        def step_finished(self, result: ocore.StepResult) -> None:
            seen.append(result.step)

    transport = _Counting(
        lines(*begin(), look("docker"), *task("docker", "Ask"), mark("docker"), *task("runtime", "No"))
    )
    with pytest.raises(ocore.RecorderError):
        ocore.provision(server(), transport=transport, recorder=Broken())

    # The marker was taken in, and nothing after it but the login that ends what may be left on the server.
    assert transport.given == len(begin()) + 1 + 2 + 1 + 1


class _Counting(ReplayTransport):
    """Counts the answers that a run took."""

    given = 0

    def start(self, server: ocore.Server) -> Process:
        process = super().start(server)
        answers = process.answers

        def counted() -> Iterator[dict[str, object] | None]:
            for answer in answers():
                self.given += 1
                yield answer

        process.answers = counted  # type: ignore[method-assign]
        return process


def test_a_changed_key_stops_before_any_credential() -> None:
    """With another key pinned no order is given at all, and both fingerprints are shown."""
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZha2VrZXlmYWtla2V5ZmFrZWtleWZha2VrZXlmYWtl"
    pinned = ocore.HostKey.parse(other)
    transport = ReplayTransport(lines(*begin()))
    result = ocore.validate(server(host_key=pinned), transport=transport)

    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.HOST_KEY_CHANGED
    assert pinned.fingerprint in result.error.message
    assert ocore.HostKey.parse(streams.HOST_KEY).fingerprint in result.error.message
    assert transport.orders == []


def test_a_recorder_can_refuse_an_address_before_the_key_is_read() -> None:
    """It is told the address that the host was resolved to; raising there stops the run before anything else."""
    told: list[str] = []

    class Refuse(ocore.NullRecorder):
        def address_found(self, address: str) -> None:
            told.append(address)
            raise PermissionError

        def host_key_seen(self, key: ocore.HostKey) -> None:
            told.append(str(key))

    class Elsewhere(ReplayTransport):
        def resolve(self, server: ocore.Server, allow: object) -> str:  # noqa: ARG002 - the protocol's shape
            return "192.0.2.99"

    transport = Elsewhere(lines(*begin()))
    with pytest.raises(ocore.RecorderError):
        ocore.validate(server(), transport=transport, recorder=Refuse())

    assert (told, transport.orders) == (["192.0.2.99"], [])


def test_a_replayed_machine_can_have_a_key_of_its_own() -> None:
    """With `own_keys` two ports show two keys, and each the same one again."""
    keys = [
        ocore.validate(server(port=port), transport=ReplayTransport(lines(*begin(), end()), own_keys=True)).host_key
        for port in (22, 2222, 22)
    ]
    assert keys[0] == keys[2] != keys[1]


def test_what_did_not_run_never_began() -> None:
    """A recorder is told the end of each step, and the beginning of those that ran."""

    class Steps(ocore.NullRecorder):
        def __init__(self) -> None:
            self.began: list[str] = []
            self.ended: list[str] = []

        def step_started(self, step: str, at: datetime) -> None:  # noqa: ARG002 - the protocol's shape
            self.began.append(step)

        def step_finished(self, result: ocore.StepResult) -> None:
            self.ended.append(result.step)

    everything = [step.name for step in ocore.STEPS]
    so, failed = Steps(), Steps()
    provision(*begin(), look(), end(), recorder=so)
    provision(*begin(), end(code=2), recorder=failed)
    assert (so.began, so.ended) == (everything[:4], everything)
    assert (failed.began, failed.ended) == (everything[:4], everything)


def test_a_recorder_can_refuse_a_host_key_before_any_credential() -> None:
    """Raising in host_key_seen stops the run before an order is given."""

    class Refuse(ocore.NullRecorder):
        def host_key_seen(self, key: ocore.HostKey) -> None:  # noqa: ARG002 - the protocol's shape
            raise PermissionError

    transport = ReplayTransport(lines(*begin()))
    with pytest.raises(ocore.RecorderError):
        ocore.validate(server(), transport=transport, recorder=Refuse())

    assert transport.orders == []


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({"become": "missing"}, "sudo_missing"),
        ({"become": "password"}, "sudo_password_required"),
        ({"refused": "ops is not in the sudoers file."}, "sudo_missing"),
        ({"refused": "sudo: 1 incorrect password attempt"}, "sudo_password_required"),
    ],
)
def test_what_sudo_says_becomes_a_code(answers: dict[str, str], code: str) -> None:
    """Each way in which becoming root fails has its code, and connect still succeeded."""
    answer = login(uid="1000", **answers)
    del answer["answers"]["end"]
    result = provision(answer)

    assert result.error is not None
    assert result.error.code == code
    assert statuses(result)["connect"] == "success"
    assert statuses(result)["privileges"] == "failed"


def test_validation_reports_a_missing_python_and_provisioning_goes_on() -> None:
    """Validation ends with python_missing; provisioning orders a bootstrap."""
    transport = ReplayTransport(lines(login(python="")))
    result = ocore.validate(server(), transport=transport)
    assert result.error is not None
    assert result.error.code is ocore.ErrorCode.PYTHON_MISSING

    transport = ReplayTransport(lines(login(python="/usr/bin/python3 3.5"), *begin()[1:], look(), end()))
    assert ocore.provision(server(), transport=transport).ok
    assert transport.orders[1]["variables"]["ocore_bootstrap_python"] is True


def test_a_plan_is_the_same_bytes_for_the_same_state() -> None:
    """Two plans over the same stream are equal to the byte, and another state gives another hash."""

    def planned(*due: str) -> ocore.Plan:
        play = [login(), event("playbook_on_start"), *begin()[2:5], look(*due), end()]
        return ocore.plan(server(), transport=ReplayTransport(lines(*play)))

    assert planned("docker").to_json() == planned("docker").to_json()
    assert planned("docker").hash != planned().hash
    assert [step.step for step in planned("docker").steps if step.run and step.step != "docker"] == [
        "connect",
        "privileges",
        "detect",
        "preflight",
    ]


def test_plan_raises_with_the_result_when_the_server_cannot_be_read() -> None:
    """Where there is no plan, RunFailed carries how the run ended."""
    with pytest.raises(ocore.RunFailed) as caught:
        ocore.plan(server(), transport=ReplayTransport(lines(login(become="missing", uid="1000"))))

    assert caught.value.result.error is not None
    assert caught.value.result.error.code is ocore.ErrorCode.SUDO_MISSING


def test_only_steps_of_provisioning_can_be_chosen() -> None:
    """A step that cannot be chosen is a ConfigError that names the field, before anything is contacted."""
    with pytest.raises(ocore.ConfigError, match="steps"):
        provision(steps=["detect"])


def test_secrets_are_taken_out_of_what_a_host_says() -> None:
    """A host that prints our password back does not get it into results or events."""
    failed = event("runner_on_failed", "Install", "docker", msg="bad: not a secret!")
    result = provision(*begin(), look("docker"), *task("docker", "Ask"), failed, end(2))

    assert result.error is not None
    assert "not a secret" not in result.error.message
    assert "[hidden]" in result.error.message
