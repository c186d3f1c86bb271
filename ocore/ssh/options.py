"""The options under which every SSH connection of ours is made: nothing of the machine's own configuration counts."""

from __future__ import annotations

from typing import Final

from ocore.intake.hostkeys import HostKey, algorithms

ALIAS: Final = "ocore-server"
CONNECT_SECONDS: Final = 10

_ALWAYS: Final = (
    "CheckHostIP=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "GlobalKnownHostsFile=/dev/null",
    "HashKnownHosts=no",
    f"HostKeyAlias={ALIAS}",
    "LogLevel=ERROR",
    "PermitLocalCommand=no",
    "UpdateHostKeys=no",
    "VerifyHostKeyDNS=no",
    f"ConnectTimeout={CONNECT_SECONDS}",
    # A host that stops answering is noticed after 15 s.
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
)


def _flags(options: tuple[str, ...]) -> list[str]:
    return ["-F", "none", *(piece for option in options for piece in ("-o", option))]


def probe_flags(known_hosts: str, preferred: str | None) -> list[str]:
    """Return the flags for reading a host key: the key is written down, and no credential is offered."""
    return _flags(
        (
            *_ALWAYS,
            "BatchMode=yes",
            f"HostKeyAlgorithms={algorithms(preferred)}",
            "IdentityAgent=none",
            "PreferredAuthentications=none",
            "StrictHostKeyChecking=accept-new",
            f"UserKnownHostsFile={known_hosts}",
        )
    )


def session_flags(*, known_hosts: str, key_type: str, agent: str | None) -> list[str]:
    """Return the flags for a connection with credentials: to the pinned key and no other.

    Args:
        known_hosts: path of the file with the pinned key.
        key_type: the pinned key's type.
        agent: path of the ssh-agent's socket; None where a password is used.

    """
    login = (
        (f"IdentityAgent={agent}", "PreferredAuthentications=publickey", "PasswordAuthentication=no")
        if agent
        else ("IdentityAgent=none", "PubkeyAuthentication=no", "PreferredAuthentications=password,keyboard-interactive")
    )
    return _flags(
        (
            *_ALWAYS,
            *login,
            "ControlMaster=auto",
            # The master lives as long as the run's process tree, so no task finds it expiring.
            "ControlPersist=yes",
            f"HostKeyAlgorithms={algorithms(key_type)}",
            "IdentityFile=none",
            "NumberOfPasswordPrompts=1",
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={known_hosts}",
        )
    )


def known_hosts_line(key: HostKey) -> str:
    """Return the line that pins a key in a known_hosts file."""
    return f"{ALIAS} {key}\n"
