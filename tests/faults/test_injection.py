"""The corpus through real runs: whatever a field that is taken holds, it stays text, and the tripwire is never run."""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import ocore
from ocore import content, inventory
from ocore.inside.login import log_in, write_askpass
from ocore.intake.hostkeys import HostKey
from ocore.intake.scrub import Scrubber
from ocore.intake.text import plain
from ocore.runs.login import login_order, read_login
from ocore.transport import SshTransport
from tests.faults import corpus
from tests.hosts import up
from tests.integration import lying
from tests.integration.support import OPTIONS, Watch, describe, options, server
from tests.integration.tripwire import Tripwire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocore.transport import Process
    from tests.hosts import Host

# Run by `./dev faults`: the whole of them takes longer than everybody's tests may.
pytestmark = pytest.mark.slow

NAMES = "corpus_names"
WRITTEN = "/var/tmp/corpus.json"
# What OpenSSH, PAM and sudo together take: crypt has 511 bytes, sudo's standard input a little less than 256.
MOST_BYTES = 255
# How many passwords go through whole runs.


@pytest.fixture(scope="module")
def wire() -> Iterator[Tripwire]:
    """Return a command that leaves a trace where it is run."""
    with Tripwire() as made:
        yield made


@pytest.fixture(scope="module")
def host(engine: None, wire: Tripwire) -> Iterator[Host]:  # noqa: ARG001 - asks for the engine
    """Return a host that has the command, with a user who needs a password for sudo, and may log in by one."""
    made = up("sudo-password", docker=True)
    try:
        made.write("/etc/ssh/sshd_config.d/ocore-test.conf", "PasswordAuthentication yes\nPerSourcePenalties no\n")
        made.exec("systemctl restart ssh")
        made.wait_until_booted()
        wire.put_on(made)
        yield made
    finally:
        made.remove()


# --- every string at once, as variables of one real run ---------------------------------------------------------------

_ALL = f"{{{{ dict({NAMES} | zip(query('ansible.builtin.vars', *{NAMES}))) | to_json }}}}"
_WRITE: tuple[dict[str, Any], ...] = (
    {
        "name": "Write what this run was given",
        "ansible.builtin.copy": {"content": _ALL, "dest": WRITTEN, "mode": "0600"},
        "tags": ["always"],
    },
    {"name": "Say what this run was given", "ansible.builtin.debug": {"msg": _ALL}, "tags": ["always"]},
)


class Carrying(SshTransport):
    """Gives a run, beside what is its own, texts as variables of both kinds, and tasks that use them."""

    def __init__(self, texts: dict[str, str]) -> None:
        super().__init__()
        self._texts = texts

    def start(self, server: ocore.Server) -> Process:
        """Start the process; the order to play has the texts with it."""
        process = super().start(server)
        give = process.order

        def order(order: dict[str, Any]) -> None:
            give(self._laden(order) if order["op"] == "play" else order)

        process.order = order  # type: ignore[method-assign]
        return process

    def _laden(self, order: dict[str, Any]) -> dict[str, Any]:
        told = {f"told_{number}": text for number, text in enumerate(self._texts.values())}
        extra = {f"extra_{number}": text for number, text in enumerate(self._texts.values())}
        # An inventory is one mapping, whose header is the same whatever is in it.
        header = inventory.render({})
        given = order["inventory"] + inventory.render(told).removeprefix(header)
        [play] = yaml.safe_load((content.root() / "playbooks" / "facts.yml").read_text(encoding="utf-8"))
        play["tasks"] = [*_WRITE, *play["tasks"]]
        files = {"facts.yml": base64.b64encode(yaml.safe_dump([play]).encode()).decode()}
        return order | {
            "files": files,
            "inventory": given,
            "variables": order["variables"] | extra | {NAMES: [*told, *extra]},
        }


@pytest.mark.promise("A1")
def test_every_string_is_itself_in_a_real_run(host: Host, wire: Tripwire, record_property: Callable[..., None]) -> None:
    """As variables of the inventory and as extra ones, all at once; a task writes them down on the host."""
    # What cannot be encoded is refused in every field, and there is no file that could hold it.
    texts = {name: text for name, text in corpus.strings(wire.run).items() if not _is_surrogate(text)}
    watch = Watch()
    ocore.gather(server(host), OPTIONS, recorder=watch, transport=Carrying(texts))
    found = json.loads(host.read(WRITTEN))
    assert not wire.traces()
    for kind in ("told", "extra"):
        assert [found[f"{kind}_{number}"] for number in range(len(texts))] == list(texts.values())
    record_property("runs", 2 * len(texts))


def _is_surrogate(text: str) -> bool:
    return any("\ud800" <= one <= "\udfff" for one in text)


# --- as passwords -----------------------------------------------------------------------------------------------------


def _passwords(texts: dict[str, str]) -> dict[str, str]:
    """Return the texts that are taken as a password, and that a host's own programs take as well."""
    found = {}
    for name, text in texts.items():
        try:
            ocore.check_password("password", text)
        except ocore.ConfigError:
            continue
        if len(text.encode()) <= MOST_BYTES:
            found[name] = text
    return found


def _set(host: Host, password: str) -> ocore.Server:
    """Have the host's user log in, and become root, with a password."""
    host.exec("chpasswd", stdin=f"{host.user}:{password}\n")
    return ocore.Server(host.address, ocore.Credentials(password=password), user=host.user, port=host.ssh_port)


@pytest.mark.promise("A1")
@pytest.mark.timeout(900)
def test_a_password_from_the_corpus_logs_in_and_becomes_root(
    host: Host, wire: Tripwire, record_property: Callable[..., None]
) -> None:
    """The worst of each kind through whole runs: ssh and sudo get each as it is, and nothing else comes of it."""
    chosen = _passwords(corpus.worst(wire.run))
    for name, password in chosen.items():
        watch = Watch()
        result = ocore.validate(_set(host, password), OPTIONS, recorder=watch)
        assert result.ok, f"{name}: {describe(result)}"
        assert "sudo works with the password" in str(result.steps), name
        # Too short a secret would take half of every message with it.
        assert len(password) < 4 or password not in f"{result}{watch}", name
    assert not wire.traces()
    record_property("runs", len(chosen))


class _Heard:
    """The other side of the login: keeps what it says."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []

    def say(self, answer: dict[str, Any]) -> None:
        """Keep an answer."""
        self.answers.append(answer)


def _login(order: dict[str, Any]) -> dict[str, Any]:
    """Log in as a run's sandboxed process does, without the sandbox, whose start takes longest; return its answer."""
    heard = _Heard()
    # Short, since a socket's path may be in there.
    with tempfile.TemporaryDirectory(prefix="oc-") as folder:
        work = Path(folder)
        session = log_in(work, order, write_askpass(work, order), heard)  # type: ignore[arg-type]
        subprocess.run([*session.command[:-1], "-O", "exit", session.command[-1]], capture_output=True, check=False)
    [answer] = heard.answers
    return answer


@pytest.mark.promise("A1")
@pytest.mark.timeout(1800)
def test_every_password_of_the_corpus_logs_in(host: Host, wire: Tripwire, record_property: Callable[..., None]) -> None:
    """All of them, as far as the login: by ssh's own question, and to sudo's."""
    known = HostKey.parse(" ".join(host.read("/etc/ssh/ssh_host_ed25519_key.pub").split()[:2]))
    chosen = _passwords(corpus.strings(wire.run))
    for name, password in chosen.items():
        one = _set(host, password)
        order = login_order(one, one.host, known, "0" * 32, drain="none", plays=False)
        found = read_login(_login(order), one, known, Scrubber(one.secrets))
        assert found.failure is None, f"{name}: {found.failure}"
        assert found.becomes, name
    assert not wire.traces()
    record_property("runs", len(chosen))


# --- as what a host reports -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def liar(host: Host) -> Host:
    """Return the host with answers that are ours to make up; until it is told otherwise, it says the truth."""
    host.exec("chpasswd", stdin=f"{host.user}:{host.sudo_password}\n")
    lying.teach(host)
    return host


# A system of no known name, or the first task's own failure.
REPORTED = {"ansible_facts": ocore.ErrorCode.OS_UNSUPPORTED, "*": ocore.ErrorCode.STEP_FAILED}


@pytest.mark.promise("A1", "A6")
@pytest.mark.parametrize("about", REPORTED)
def test_what_a_host_reports_is_text(
    liar: Host, wire: Tripwire, about: str, record_property: Callable[..., None]
) -> None:
    """All of the corpus in the texts of its answers: the run fails by a code, and nothing of it is run."""
    texts = list(corpus.strings(wire.run).values())
    lying.say(liar, texts)
    lying.lie(liar, "corpus", about)
    runs = 0
    while lying.said(liar) < len(texts):
        watch = Watch()
        result = ocore.provision(server(liar), options(proxy="none"), recorder=watch, check=True)
        assert result.error is not None, "with such answers nothing can be done"
        assert result.error.code is REPORTED[about], describe(result)
        told = [text for event in watch.events for text in (event.task, event.message)]
        told += [str(one) for specs in watch.specs for one in (specs.os_name, specs.kernel_version)]
        assert all(plain(text, 10_000) == text for text in told)
        runs += 1
        assert runs < 20, f"{lying.said(liar)} of {len(texts)} were said"
    assert not wire.traces()
    record_property("runs", len(texts))


@pytest.mark.promise("A1", "A6")
def test_what_is_in_a_hosts_own_files_is_text(liar: Host, wire: Tripwire, record_property: Callable[..., None]) -> None:
    """The worst of each kind in os-release and as the host's name, as a true answer then has them."""
    lying.tell_the_truth(liar)
    release = liar.read("/etc/os-release")
    chosen = {name: text for name, text in corpus.worst(wire.run).items() if text and "\0" not in text}
    chosen = {name: text for name, text in chosen.items() if not _is_surrogate(text) and len(text) < 1000}
    try:
        for text in chosen.values():
            quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
            liar.write("/etc/os-release", f'ID=debian\nVERSION_ID=13\nNAME="{quoted}"\nPRETTY_NAME="{quoted}"\n')
            liar.write("/etc/hostname", text)
            liar.exec("head -c 60 > /proc/sys/kernel/hostname", stdin=text)
            specs = ocore.gather(server(liar), OPTIONS)
            assert plain(specs.os_name, 1000) == specs.os_name
    finally:
        liar.write("/etc/os-release", release)
    assert not wire.traces()
    record_property("runs", len(chosen))


# --- the tripwire -----------------------------------------------------------------------------------------------------


def test_the_tripwire_notices_each_way_in(host: Host, wire: Tripwire) -> None:
    """Run on the host, and run here by ssh's own option: both leave a trace. Templates: see test_hostile."""
    with Tripwire() as other:
        other.put_on(host)
        assert not other.traces()
        host.exec(other.run, check=False)
        subprocess.run(
            ["ssh", f"-oProxyCommand={other.run}", "x"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        assert len(other.traces()) == 3
    assert not wire.traces()
