"""Checking by use that a server does what it should."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.ocore_checks import CHECKS, Answer, Server, wrong_after, wrong_in
from ansible.module_utils.ocore_docker import DockerUnavailable

ALL = list(CHECKS)
IMAGE = "docker.io/library/caddy:2.10.2"


def expected(**changes: Any) -> dict[str, Any]:
    """Return what is expected of a server with Caddy."""
    proxy = {"kind": "caddy", "unit": "ocore-proxy.service", "image": IMAGE, "command": ["caddy", "version"]}
    return {
        "docker_minimum_version": "24",
        "docker_info": {"LiveRestoreEnabled": True},
        "network": "ocore",
        "server_id": "s-1",
        "swap": "",
        "ssh_ports": [],
        "proxy": {**proxy, **changes.pop("proxy", {})},
        "agent": {"unit": "ocore-agent.service"},
        **changes,
    }


class StandInDocker:
    """A Docker that answers from memory and counts the containers that it has."""

    def __init__(self, **answers: Any) -> None:
        """Take other answers than those of a Docker that is well."""
        self.answers = {
            "/version": {"Version": "26.1.5+dfsg1"},
            "/info": {"LiveRestoreEnabled": True},
            "/networks/ocore": {"Name": "ocore"},
            "/containers/ocore-verify/json": None,
            "create": (201, {"Id": "c1"}),
            "start": (204, None),
            "wait": (200, {"StatusCode": 0}),
            **answers,
        }
        self.containers: set[str] = set()

    def get(self, path: str) -> Any:
        """Return the answer; one that is an exception is raised."""
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Answer to the three calls that run a container."""
        call = path.rpartition("/")[2].partition("?")[0]
        if call == "create" and self.answers["create"][0] == 201:
            assert path.endswith("?name=ocore-verify")
            self.containers.add("c1")
            assert body["Labels"] == {"sh.ocore.managed": "true"}
        status, answer = self.answers[call]
        return status, answer

    def delete(self, path: str) -> tuple[int, Any]:
        """Remove the container."""
        self.containers.discard(path.partition("?")[0].rpartition("/")[2])
        return 204, None


class StandIn(Server):
    """A server that is well, as far as nothing else is given."""

    def __init__(self, **changes: Any) -> None:
        """Take what is different."""
        self.docker = changes.get("docker", StandInDocker())
        self.answer = changes.get("answer", Answer(200, "Caddy"))
        self.stopped = changes.get("stopped", ())
        self.unfinished = changes.get("unfinished", False)
        self.id = changes.get("id", "s-1")
        self.user = changes.get("user", "61234")
        self.asked = 0

    def page(self) -> Answer:
        """Return the given answer; of several, one after the other."""
        self.asked += 1
        if isinstance(self.answer, list):
            return self.answer[min(self.asked, len(self.answer)) - 1]
        return self.answer

    def unit_state(self, name: str) -> str:
        """Return that a unit runs, unless it is given as stopped."""
        return "failed" if name in self.stopped else "active"

    def unit_user(self, name: str) -> str:  # noqa: ARG002 - the real one's shape
        """Return what is given."""
        return str(self.user)

    def unfinished_packages(self) -> bool:
        """Return what is given."""
        return self.unfinished

    def marker(self) -> str:
        """Return what is given."""
        return self.id


def test_nothing_is_wrong_with_a_server_that_is_well() -> None:
    """All checks pass, and the throw-away container is gone."""
    server = StandIn()
    assert wrong_in(ALL, expected(), server) == []
    assert server.docker.containers == set()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"unfinished": True}, "some packages are only half installed (`dpkg --audit` names them)"),
        ({"stopped": ["docker.service"]}, "the unit docker.service is failed"),
        ({"stopped": ["ocore-proxy.service"]}, "the unit ocore-proxy.service is failed"),
        ({"stopped": ["ocore-agent.service"]}, "the unit ocore-agent.service is failed"),
        ({"user": "0"}, "the agent runs as root"),
        ({"id": "none"}, "the marker file names the server none, not s-1"),
        ({"id": "s-2"}, "the marker file names the server s-2, not s-1"),
        ({"answer": Answer(0, "refused")}, "nothing answers on port 80 (refused)"),
        ({"answer": Answer(502, "Caddy")}, "port 80 answers with status 502"),
        ({"answer": Answer(200, "nginx/1.29.3")}, "nginx/1.29.3 answers on port 80, not caddy"),
        ({"answer": Answer(200, "")}, "something without a name answers on port 80, not caddy"),
        ({"docker": StandInDocker(**{"/networks/ocore": None})}, "Docker has no network ocore"),
        ({"docker": StandInDocker(**{"/version": {"Version": "20.10.24"}})}, "Docker is 20.10.24, older than 24"),
        ({"docker": StandInDocker(**{"/info": {}})}, "Docker's LiveRestoreEnabled is None, not True"),
        (
            {"docker": StandInDocker(create=(404, {"message": "No such image"}))},
            f"no container of {IMAGE} can be made: No such image",
        ),
        (
            {"docker": StandInDocker(start=(400, {"message": "caddy: not found"}))},
            f"a container of {IMAGE} does not start: caddy: not found",
        ),
        ({"docker": StandInDocker(wait=(200, {"StatusCode": 3}))}, f"a container of {IMAGE} ended with code 3"),
    ],
)
def test_each_fault_is_named(changes: dict[str, Any], sentence: str) -> None:
    """Whatever is wrong is said in one sentence, and nothing else is."""
    assert wrong_in(ALL, expected(), StandIn(**changes)) == [sentence]


@pytest.mark.parametrize("fault", [{"start": (400, None)}, {"wait": (200, None)}])
def test_the_container_goes_even_if_it_fails(fault: dict[str, Any]) -> None:
    """No throw-away container is left behind."""
    docker = StandInDocker(**fault)
    assert wrong_in(["proxy"], expected(), StandIn(docker=docker))
    assert docker.containers == set()


def test_a_docker_that_is_silent_is_one_fault_for_each_step() -> None:
    """A check that cannot be made is a fault, and does not keep others from being made."""
    silent = DockerUnavailable("Docker does not answer")
    docker = StandInDocker(**{"/version": silent, "/networks/ocore": silent})
    assert wrong_in(ALL, expected(), StandIn(docker=docker)) == [
        "docker: Docker does not answer",
        "runtime: Docker does not answer",
    ]


def test_a_broken_check_is_a_fault() -> None:
    """What nobody thought of does not pass for success."""
    [fault] = wrong_in(["docker"], expected(), StandIn(docker=StandInDocker(**{"/version": []}, **{"/info": 3})))
    assert fault.startswith("docker cannot be checked: AttributeError")


def test_only_the_steps_that_are_asked_for_are_checked() -> None:
    """What a run did not touch does not fail it."""
    assert wrong_in(["packages"], expected(), StandIn(answer=Answer(0, "refused"), id="none")) == []


def test_without_a_proxy_nothing_needs_to_answer() -> None:
    """With `none`, port 80 and the image are not looked at."""
    server = StandIn(answer=Answer(0, "refused"), stopped=["ocore-proxy.service"])
    assert wrong_in(ALL, expected(proxy={"kind": "none"}), server) == []


def test_without_an_agent_none_needs_to_run() -> None:
    """Where none is wanted, its unit is not looked at."""
    server = StandIn(stopped=["ocore-agent.service"], user="0")
    assert wrong_in(ALL, expected(agent={"unit": ""}), server) == []


def test_any_marker_will_do_where_no_id_is_given() -> None:
    """A hand run that knows no id still wants the marker file."""
    assert wrong_in(["runtime"], expected(server_id=""), StandIn(id="s-9")) == []
    assert wrong_in(["runtime"], expected(server_id=""), StandIn(id="none"))


def test_what_was_just_restarted_gets_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that goes away by itself is none."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    server = StandIn(answer=[Answer(0, "refused"), Answer(0, "refused"), Answer(200, "Caddy")])
    assert wrong_after(["proxy"], expected(), server, patience=60) == []
    assert server.asked == 3


def test_patience_ends() -> None:
    """What stays wrong is reported."""
    assert wrong_after(["proxy"], expected(), StandIn(answer=Answer(0, "refused")), patience=0) == [
        "nothing answers on port 80 (refused)"
    ]


@pytest.mark.parametrize(("labels", "removed"), [({"sh.ocore.managed": "true"}, True), (None, False)])
def test_what_a_killed_run_left_is_removed(labels: Any, removed: bool) -> None:  # noqa: FBT001 - a case's outcome
    """A throw-away container of an earlier run goes before the next one is made; one of somebody else's stays."""
    docker = StandInDocker(**{"/containers/ocore-verify/json": {"Id": "c0", "Config": {"Labels": labels}}})
    docker.containers = {"c0"}
    wrong_in(["proxy"], expected(), StandIn(docker=docker))
    assert docker.containers == (set() if removed else {"c0"})
