"""Where credentials come from: files, standard input, questions, an agent."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from ocore.intake.keys import is_encrypted
from tests.unit.cli.fakes import FakeDoor
from tests.unit.keymaker import PASSPHRASE, private_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocore.models import Credentials
    from tests.unit.cli.conftest import Ran

    Ocore = Callable[..., Ran]


def login(ocore: Ocore, *words: str, answer: str | None = None, stdin: str = "") -> Credentials:
    """Return the credentials that the library is given for these arguments."""

    def ask(question: str) -> str:
        assert answer is not None, f"was asked: {question}"
        return answer

    door = FakeDoor()
    ran = ocore("validate", "h", *words, door=door, ask=ask, stdin=stdin)
    assert ran.code == 0, ran.err
    return door.calls[0].server.credentials


@pytest.fixture
def secret(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that puts a text into a file and returns its name."""

    def write(text: str) -> str:
        file = tmp_path / "secret"
        file.write_bytes(text.encode())
        return str(file)

    return write


def test_a_key_comes_from_a_file_or_from_standard_input(ocore: Ocore, key_file: str) -> None:
    """Both ways give a key that can be used."""
    assert login(ocore, "--key", key_file).private_key
    assert login(ocore, "--key", "-", stdin=private_key("ed25519")).private_key


@pytest.mark.parametrize(
    ("text", "password"),
    [("secret\n", "secret"), ("secret\r\n", "secret"), ("secret", "secret"), (" two words \n", " two words ")],
)
def test_a_password_comes_from_a_file_without_its_line_end(
    ocore: Ocore, secret: Callable[[str], str], text: str, password: str
) -> None:
    """One line end is the editor's; everything else is the password's."""
    assert login(ocore, "--password-file", secret(text)).password == password
    assert login(ocore, "--password-file", "-", stdin=text).password == password


def test_a_password_is_asked_for(ocore: Ocore) -> None:
    """What is typed is the password."""
    assert login(ocore, "--ask-password", answer="typed").password == "typed"


def test_an_agent_is_found_by_its_variable(ocore: Ocore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's ssh-agent is the one that SSH_AUTH_SOCK names."""
    # pytest's own folders are too long for a socket's path.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as agent:
        agent.bind(f"{folder}/agent")
        monkeypatch.setenv("SSH_AUTH_SOCK", f"{folder}/agent")
        assert login(ocore, "--agent").agent_socket == f"{folder}/agent"


def test_the_sudo_password_has_ways_of_its_own(ocore: Ocore, key_file: str, secret: Callable[[str], str]) -> None:
    """It comes from a file, from standard input or by a question."""
    assert login(ocore, "--key", key_file, "--sudo-password-file", secret("s\n")).sudo_password == "s"
    assert login(ocore, "--key", key_file, "--sudo-password-file", "-", stdin="s\n").sudo_password == "s"
    assert login(ocore, "--key", key_file, "--ask-sudo-password", answer="s").sudo_password == "s"


def test_a_protected_key_is_opened(ocore: Ocore, tmp_path: Path, secret: Callable[[str], str]) -> None:
    """Its passphrase is asked for, or comes from a file."""
    file = tmp_path / "protected"
    file.write_text(private_key("ed25519", "OpenSSH", PASSPHRASE))
    asked = login(ocore, "--key", str(file), answer=PASSPHRASE)
    read = login(ocore, "--key", str(file), "--passphrase-file", secret(f"{PASSPHRASE}\n"))
    for one in (asked, read):
        assert one.private_key
        assert not is_encrypted(one.private_key)


def test_the_agents_token_comes_from_a_file_and_is_in_no_text(
    ocore: Ocore, key_file: str, secret: Callable[[str], str]
) -> None:
    """It reaches the library with the server, and is shown nowhere; without it the library gets none."""
    door, token = FakeDoor(), "oca_" + "t" * 40
    words = ("--key", key_file, "--agent-url", "https://ocore.example.org")
    ran = ocore("provision", "h", *words, "--agent-token-file", secret(f"{token}\n"), door=door)
    ocore("provision", "h", *words, door=door)
    given, without = (call.server for call in door.calls)
    assert (given.agent_token, without.agent_token) == (token, None)
    assert given.secrets == (*given.credentials.secrets, token)
    assert token not in repr(given) + ran.out + ran.err


def test_a_key_without_passphrase_asks_nothing(ocore: Ocore, key_file: str) -> None:
    """A passphrase file that is not needed does no harm, either."""
    assert login(ocore, "--key", key_file, "--passphrase-file", "/nonexistent").private_key


def test_only_one_thing_reads_standard_input(ocore: Ocore) -> None:
    """Two readers would get half each."""
    ran = ocore("validate", "h", "--key", "-", "--sudo-password-file", "-")
    assert ran.code == 2
    assert "--key and --sudo-password-file: only one" in ran.err


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "1-1024 characters"), ("a\nb\n", "no line break"), ("x" * 1025, "1-1024 characters")],
)
def test_a_password_that_cannot_be_is_refused(
    ocore: Ocore, secret: Callable[[str], str], text: str, words: str
) -> None:
    """An empty file or one of several lines is no password."""
    ran = ocore("validate", "h", "--password-file", secret(text))
    assert ran.code == 2
    assert words in ran.err


def test_a_file_that_is_no_text_is_refused(ocore: Ocore, tmp_path: Path) -> None:
    """A binary file is refused by its name, without its content."""
    file = tmp_path / "binary"
    file.write_bytes(b"\xff\xfe\x00")
    ran = ocore("validate", "h", "--key", str(file))
    assert ran.code == 2
    assert ran.err == f"ocore: {file}: is not text in UTF-8\n"


def test_a_wrong_server_is_refused_before_anyone_is_asked(ocore: Ocore) -> None:
    """Nobody types a password for a command that cannot run."""
    for words in (["127.1"], ["h", "--apt-proxy", "x"], ["h", "--host-key", "x"], ["h", "--id", "../x"]):
        assert ocore("validate", *words, "--ask-password").code == 2


def test_without_a_terminal_nothing_is_asked() -> None:
    """Where there is no terminal, standard input is not read instead, and the error says so."""
    ran = subprocess.run(
        [sys.executable, "-m", "ocore", "validate", "h", "--ask-password"],
        input="typed\n",
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr == (
        'ocore: terminal: there is none to ask for the password: name a file with it, see "logging in" in --help\n'
    )
