"""What OpenSSH and sudo print becomes the right code."""

from __future__ import annotations

import pytest

from ocore.errors import ErrorCode
from ocore.ssh.words import meaning, sudo_meaning


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("root@192.0.2.1: Permission denied (publickey,password).", ErrorCode.AUTH_DENIED),
        ("Received disconnect from 192.0.2.1: Too many authentication failures", ErrorCode.AUTH_DENIED),
        ("ssh: connect to host 192.0.2.1 port 22: Connection refused", ErrorCode.CONNECTION_REFUSED),
        ("ssh: connect to host 192.0.2.1 port 22: Connection timed out", ErrorCode.CONNECT_TIMEOUT),
        ("ssh: connect to host 192.0.2.1 port 22: No route to host", ErrorCode.CONNECT_TIMEOUT),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", ErrorCode.HOST_KEY_CHANGED),
        ("Host key verification failed.", ErrorCode.HOST_KEY_CHANGED),
        ("kex_exchange_identification: Connection closed by remote host", ErrorCode.NOT_SSH),
        ("Connection closed by 192.0.2.1 port 22", ErrorCode.CONNECTION_LOST),
        ("", ErrorCode.CONNECTION_LOST),
    ],
)
def test_ssh(message: str, code: ErrorCode) -> None:
    """Each message of OpenSSH has its code."""
    assert meaning(message) is code


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("ops is not in the sudoers file.", ErrorCode.SUDO_MISSING),
        ("Sorry, user ops may not run sudo on web.", ErrorCode.SUDO_MISSING),
        ("sudo: I'm sorry ops. I'm afraid I can't do that", ErrorCode.SUDO_MISSING),
        ("Sorry, try again. sudo: 1 incorrect password attempt", ErrorCode.SUDO_PASSWORD_REQUIRED),
    ],
)
def test_sudo(message: str, code: ErrorCode) -> None:
    """Each message of sudo has its code."""
    assert sudo_meaning(message) is code
