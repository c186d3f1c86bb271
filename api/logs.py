"""Structured logs: one JSON object a line, with the ids of the request, the run and the server."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from api.settings import Settings

# They say more at `info` than anybody reads; each request and each run is logged by us, once.
_QUIET = ("huey", "alembic", "uvicorn.access", "httpx")


def _for_people() -> structlog.dev.ConsoleRenderer:
    """Return what writes for people. Its own form of an exception shows local variables: among them are secrets."""
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


# For who makes the app without `configure`, such as another ASGI server.
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _for_people()])


def configure(settings: Settings) -> None:
    """Send our logs, and those of the libraries, to standard error in one form."""
    as_text = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = _for_people() if as_text else structlog.processors.JSONRenderer()
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    last += [renderer] if as_text else [structlog.processors.format_exc_info, renderer]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def log(name: str) -> structlog.stdlib.BoundLogger:
    """Return a module's logger."""
    bound: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return bound
