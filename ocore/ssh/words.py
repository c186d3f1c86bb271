"""What OpenSSH's and sudo's messages mean, as codes. OpenSSH tells most failures apart by words only."""

from __future__ import annotations

import re
from typing import Final

from ocore.errors import ErrorCode

_MEANINGS: Final = (
    (
        r"remote host identification has changed|host key verification failed|no matching host key type",
        ErrorCode.HOST_KEY_CHANGED,
    ),
    (
        r"permission denied|too many authentication failures|password has expired|account .* (expired|locked)",
        ErrorCode.AUTH_DENIED,
    ),
    (r"connection refused", ErrorCode.CONNECTION_REFUSED),
    (r"timed out|timeout, server|no route to host|network is unreachable|host is down", ErrorCode.CONNECT_TIMEOUT),
    (r"invalid ssh|protocol mismatch|banner|bad packet length|kex_exchange|no matching", ErrorCode.NOT_SSH),
    (r"connection (closed|reset)|broken pipe|lost connection", ErrorCode.CONNECTION_LOST),
)
_NOT_ALLOWED: Final = re.compile(
    r"not in the sudoers|may not run sudo|not allowed to (execute|run)|i'm afraid i can't do that", re.IGNORECASE
)


def meaning(message: str) -> ErrorCode:
    """Return the code for what ssh printed before it gave up."""
    for pattern, code in _MEANINGS:
        if re.search(pattern, message, re.IGNORECASE):
            return code
    return ErrorCode.CONNECTION_LOST


def sudo_meaning(message: str) -> ErrorCode:
    """Return the code for what sudo printed when it refused."""
    return ErrorCode.SUDO_MISSING if _NOT_ALLOWED.search(message) else ErrorCode.SUDO_PASSWORD_REQUIRED
