"""Why a run can fail, and what raises.

A run that failed is a value (`RunResult.error` is a `Failure`). Exceptions are for what is wrong before a run, for
scripts that ask for them (`RunResult.raise_for_status`), and for a caller's own recorder that raised:

* OcoreError
    * ConfigError (also a ValueError)   a field breaks its rule; nothing was contacted
    * RunFailed                         carries the `RunResult`
    * RecorderError                     the caller's Recorder raised; the run was stopped at a step boundary
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ocore.models import RunResult


class ErrorCode(StrEnum):
    """The closed set of reasons for which a run fails."""

    ADDRESS_REFUSED = "address_refused"
    DNS_FAILED = "dns_failed"
    CONNECTION_REFUSED = "connection_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    NOT_SSH = "not_ssh"
    HOST_KEY_CHANGED = "host_key_changed"
    KEY_INVALID = "key_invalid"
    AUTH_DENIED = "auth_denied"
    SECRET_REQUIRED = "secret_required"  # noqa: S105 - a code, not a secret
    SUDO_MISSING = "sudo_missing"
    SUDO_PASSWORD_REQUIRED = "sudo_password_required"  # noqa: S105 - a code, not a secret
    PYTHON_MISSING = "python_missing"
    OS_UNSUPPORTED = "os_unsupported"
    ARCH_UNSUPPORTED = "arch_unsupported"
    INIT_UNSUPPORTED = "init_unsupported"
    FOREIGN_MANAGER = "foreign_manager"
    MEMORY_LOW = "memory_low"
    DISK_LOW = "disk_low"
    PORT_IN_USE = "port_in_use"
    PACKAGE_LOCK = "package_lock"
    DOCKER_TOO_OLD = "docker_too_old"
    EGRESS_BLOCKED = "egress_blocked"
    CLOCK_SKEWED = "clock_skewed"
    STEP_FAILED = "step_failed"
    VERIFY_FAILED = "verify_failed"
    STEP_TIMEOUT = "step_timeout"
    RUN_TIMEOUT = "run_timeout"
    CONNECTION_LOST = "connection_lost"
    WORKER_LOST = "worker_lost"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """What is always true of a code: what it means, what to do, and whether trying again unchanged can help."""

    meaning: str
    remedy: str
    retryable: bool


ERRORS: Final = MappingProxyType(
    {
        ErrorCode.ADDRESS_REFUSED: ErrorInfo(
            "The host's address is one that oCore does not connect to.",
            "Give the server's own address; to reach this machine itself on purpose, use `--allow-loopback` "
            "(`allow_loopback` in Python, `OCORE_ALLOW_LOOPBACK` in the service).",
            retryable=False,
        ),
        ErrorCode.DNS_FAILED: ErrorInfo(
            "The host name could not be resolved.",
            "Check the spelling and the DNS record, or give the IP address.",
            retryable=True,
        ),
        ErrorCode.CONNECTION_REFUSED: ErrorInfo(
            "Nothing listens at the host's SSH port.",
            "Check the port, that sshd runs, and that a firewall does not reject us.",
            retryable=True,
        ),
        ErrorCode.CONNECT_TIMEOUT: ErrorInfo(
            "The host did not answer in time.",
            "Check that it is up, that the address is right and that a firewall lets us through.",
            retryable=True,
        ),
        ErrorCode.NOT_SSH: ErrorInfo(
            "What answers at the port does not speak SSH.",
            "Check the port.",
            retryable=False,
        ),
        ErrorCode.HOST_KEY_CHANGED: ErrorInfo(
            "The host's key is not the one that was pinned; no credential was sent.",
            "If the server was reinstalled, check the new fingerprint on its console and reset the host key. "
            "Otherwise someone may be answering in its place.",
            retryable=False,
        ),
        ErrorCode.KEY_INVALID: ErrorInfo(
            "The private key cannot be used.",
            "Give an OpenSSH or PEM private key that fits the rules named in the message.",
            retryable=False,
        ),
        ErrorCode.AUTH_DENIED: ErrorInfo(
            "The host does not accept the login.",
            "Check the user, and that its authorized_keys has the key (or that the password is right and sshd takes "
            "passwords).",
            retryable=False,
        ),
        ErrorCode.SECRET_REQUIRED: ErrorInfo(
            "No credential is at hand for this server.",
            "Give the private key or the password again.",
            retryable=False,
        ),
        ErrorCode.SUDO_MISSING: ErrorInfo(
            "The user is not root and cannot become root.",
            "Log in as root, or install sudo and allow this user to run everything with it.",
            retryable=False,
        ),
        ErrorCode.SUDO_PASSWORD_REQUIRED: ErrorInfo(
            "sudo asks for a password, and the one given is missing or wrong.",
            "Give the user's sudo password, or allow the user NOPASSWD.",
            retryable=False,
        ),
        ErrorCode.PYTHON_MISSING: ErrorInfo(
            "The host has no Python that Ansible can use.",
            "Provisioning installs it; validation only reports it.",
            retryable=False,
        ),
        ErrorCode.OS_UNSUPPORTED: ErrorInfo(
            "The operating system or its release is not supported.",
            "Use Debian 12 or newer, or Ubuntu 22.04 or newer.",
            retryable=False,
        ),
        ErrorCode.ARCH_UNSUPPORTED: ErrorInfo(
            "The processor's architecture is not supported.",
            "Use an amd64 or arm64 server.",
            retryable=False,
        ),
        ErrorCode.INIT_UNSUPPORTED: ErrorInfo(
            "The host is not run by systemd.",
            "Use a server or virtual machine that boots systemd; a plain container will not do.",
            retryable=False,
        ),
        ErrorCode.FOREIGN_MANAGER: ErrorInfo(
            "Something else manages this server.",
            "Remove the other manager, or use another server; two managers undo each other's work.",
            retryable=False,
        ),
        ErrorCode.MEMORY_LOW: ErrorInfo(
            "The host has less memory than the minimum.",
            "Use a larger server, or lower the minimum in the options.",
            retryable=False,
        ),
        ErrorCode.DISK_LOW: ErrorInfo(
            "The file system for /var/lib/docker has less free space than the minimum.",
            "Free space or add a disk, or lower the minimum in the options.",
            retryable=False,
        ),
        ErrorCode.PORT_IN_USE: ErrorInfo(
            "A port that the proxy needs is held by another program.",
            "Stop the program that the message names, or choose the proxy 'none'.",
            retryable=False,
        ),
        ErrorCode.PACKAGE_LOCK: ErrorInfo(
            "The package manager stayed locked for longer than the limit.",
            "Wait until the program that the message names is done, then run again.",
            retryable=True,
        ),
        ErrorCode.DOCKER_TOO_OLD: ErrorInfo(
            "Docker is older than the minimum, and a newer one cannot be had.",
            "Upgrade or remove the Docker that is there, or let the host reach download.docker.com.",
            retryable=False,
        ),
        ErrorCode.EGRESS_BLOCKED: ErrorInfo(
            "The host cannot reach its package sources, or the registry of an image.",
            "Open outgoing connections to what the message names, or name an apt proxy in the options (for packages).",
            retryable=True,
        ),
        ErrorCode.CLOCK_SKEWED: ErrorInfo(
            "The host's clock is wrong by more than the limit.",
            "Set the clock, and keep it right with NTP; with a wrong one, certificates look invalid.",
            retryable=False,
        ),
        ErrorCode.STEP_FAILED: ErrorInfo(
            "A task of a step failed.",
            "Read the task's message, mend the cause on the host, and run again: it goes on at this step.",
            retryable=True,
        ),
        ErrorCode.VERIFY_FAILED: ErrorInfo(
            "The server was provisioned, but does not do what it should.",
            "Read what the message names; `--force` runs every step again.",
            retryable=True,
        ),
        ErrorCode.STEP_TIMEOUT: ErrorInfo(
            "A step took longer than its limit and was stopped.",
            "Run again; it goes on at this step. If it happens twice, look at what the host is busy with.",
            retryable=True,
        ),
        ErrorCode.RUN_TIMEOUT: ErrorInfo(
            "The run took longer than its limit and was stopped.",
            "Run again; what is done stays done.",
            retryable=True,
        ),
        ErrorCode.CONNECTION_LOST: ErrorInfo(
            "The connection to the host broke during the run.",
            "Check that the host is up, and run again; it goes on at the step that was cut off.",
            retryable=True,
        ),
        ErrorCode.WORKER_LOST: ErrorInfo(
            "The process that ran Ansible ended without a result.",
            "Run again. If it happens twice, look for the kernel's out-of-memory killer in this machine's log.",
            retryable=True,
        ),
        ErrorCode.CANCELLED: ErrorInfo(
            "The run was cancelled.",
            "Run again when you like; what is done stays done.",
            retryable=True,
        ),
        ErrorCode.INTERNAL: ErrorInfo(
            "Something happened that oCore did not expect.",
            "Please report it, with the message.",
            retryable=False,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed: a code of the closed set, and what happened this time in words for people."""

    code: ErrorCode
    message: str

    @property
    def remedy(self) -> str:
        """What to do next."""
        return ERRORS[self.code].remedy

    @property
    def retryable(self) -> bool:
        """Whether trying again without changing anything can help."""
        return ERRORS[self.code].retryable

    def __str__(self) -> str:
        """Return the message and the remedy, as one text."""
        return f"{self.message} {self.remedy}"


class OcoreError(Exception):
    """Everything that oCore raises."""


class ConfigError(OcoreError, ValueError):
    """A field breaks its rule. Raised before anything is contacted."""

    def __init__(self, field: str, rule: str, code: ErrorCode | None = None) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule
        self.code = code


class RunFailed(OcoreError):  # noqa: N818 - reads as what happened
    """A run failed, and the caller asked for an exception; `result` tells the whole story."""

    def __init__(self, result: RunResult) -> None:
        failure = result.error
        super().__init__(str(failure) if failure else "the run failed")
        self.result = result


class RecorderError(OcoreError):
    """The caller's Recorder raised; the run was stopped at the next step boundary. `__cause__` is what it raised."""
