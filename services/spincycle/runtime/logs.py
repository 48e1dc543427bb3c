"""Log lines: human-readable on a terminal, one JSON object per line elsewhere.

Every line about a request carries request_id, and job_id, try and epoch where they apply.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog

from spincycle.runtime.config import LogConfig

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure_logs(config: LogConfig, service: str) -> None:
    """Write the log lines of this process and of its libraries to standard error."""
    human = config.format == "human" or (config.format == "auto" and sys.stderr.isatty())
    level = _LEVELS[config.level]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[Any] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # Local variables would be long, and may contain secrets.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
        if human
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json)]
    )
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=(
            structlog.PrintLoggerFactory(sys.stderr)
            if human
            else structlog.BytesLoggerFactory(sys.stderr.buffer)
        ),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    _forward_library_logs(max(level, logging.WARNING))


def _json(event: dict[str, Any], **_: Any) -> bytes:
    return orjson.dumps(event, default=str)


def _forward_library_logs(level: int) -> None:
    root = logging.getLogger()
    root.handlers = [_Forwarder()]
    root.setLevel(level)


class _Forwarder(logging.Handler):
    """Forwards the log records of libraries from the standard library's logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info, library=True)
