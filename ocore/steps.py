"""The registry of steps: what there is, in which order, what depends on what, and how long each may take.

Adding a step: a role directory, one line here, one entry in `playbooks/provision.yml` (a test compares the two).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Step:
    """One named stage of a run: a role, with its own row in the log.

    Attributes:
        name: what people, the API and the role directory call it.
        does: one line for people.
        timeout: seconds after which the step is stopped.
        needs: the steps whose change makes this one run again.
        validates: part of validation, which looks at the server and changes nothing.

    """

    name: str
    does: str
    timeout: float
    needs: tuple[str, ...] = ()
    validates: bool = False


_ALL_CHANGES: Final = ("packages", "swap", "security", "docker", "runtime", "proxy", "agent")
STEPS: Final = (
    Step("connect", "resolve, connect, check the host key, log in", 60, validates=True),
    Step("privileges", "become root, by sudo where the user is another", 60, validates=True),
    # Where there is no Python, it is installed first; the lock of the package manager may be held for long.
    Step("detect", "read the hardware and the operating system", 1500, validates=True),
    Step("preflight", "check what the server must have, before anything is changed", 180, validates=True),
    Step("packages", "install the base packages", 1500),
    Step("swap", "make a swap file, where one is asked for", 2400),
    Step("security", "close the server, where that is asked for", 1500),
    Step("docker", "install and configure Docker", 1500, needs=("packages",)),
    Step("runtime", "make the directories, the network and the marker file", 300, needs=("docker",)),
    Step("proxy", "run the reverse proxy", 900, needs=("runtime",)),
    Step("agent", "run the program that tells the service how the server is doing", 300),
    Step("verify", "check by other means that the server does what it should", 300, needs=_ALL_CHANGES),
)

CLEANUP: Final = (
    STEPS[0],
    STEPS[1],
    STEPS[2],
    Step("cleanup", "remove what was put on the server, and nothing else", 1500),
)

BY_NAME: Final = {step.name: step for step in (*STEPS, *CLEANUP)}
VALIDATION: Final = tuple(step.name for step in STEPS if step.validates)
CHANGING: Final = tuple(step.name for step in STEPS if not step.validates)
