"""Log records of jobs, from the standard library's logging: part of their output."""

from __future__ import annotations

import logging
import sys
from contextvars import copy_context
from typing import TYPE_CHECKING

import structlog

from spincycle.job.current_job import CURRENT_JOB, leave_job
from spincycle.job_runner.standard_streams import JobStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spincycle.job import Job

_FORMAT = logging.Formatter("%(levelname)s %(name)s: %(message)s")


class JobLogHandler(logging.Handler):
    """Writes the records of jobs, from INFO on, to the standard error of their tries.

    It skips a record that another handler writes to a standard stream, as such a handler's output
    is that of the job already. Records from `forward_level` on are also forwarded to the runner's
    log, with the ids of the job.
    """

    def __init__(self, forward_level: int) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(_FORMAT)
        self._forward_level = forward_level

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record of a job; ignore others."""
        job = CURRENT_JOB.get()
        if job is None:
            return
        try:
            if not any(_writes_to_standard_stream(each, record) for each in _handlers(record)):
                sys.stderr.write(self.format(record) + "\n")
            if record.levelno >= self._forward_level:
                context = copy_context()
                context.run(leave_job)
                context.run(_forward, record, job)
        except Exception:  # noqa: BLE001 - as the handlers of the standard library
            self.handleError(record)


def install_job_logs() -> None:
    """Handle the records of jobs apart from those of the runner's libraries.

    Call it after the logs are configured.
    """
    root = logging.getLogger()
    level = root.level
    for handler in root.handlers:
        handler.setLevel(level)
        handler.addFilter(lambda _record: CURRENT_JOB.get() is None)
    root.addHandler(JobLogHandler(level))
    root.setLevel(min(level, logging.INFO))


def _forward(record: logging.LogRecord, job: Job) -> None:
    identity = job.id
    structlog.get_logger(__name__).log(
        record.levelno,
        "job logged",
        message=record.getMessage(),
        logger=record.name,
        exc_info=record.exc_info,
        request_id=identity.request_id,
        job_id=identity.id,
        path=identity.path,
    )


def _handlers(record: logging.LogRecord) -> Iterator[logging.Handler]:
    """Return the handlers that receive a record."""
    found = logging.root.manager.loggerDict.get(record.name)
    logger: logging.Logger | None = found if isinstance(found, logging.Logger) else logging.root
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def _writes_to_standard_stream(handler: logging.Handler, record: logging.LogRecord) -> bool:
    return (
        isinstance(handler, logging.StreamHandler)
        and isinstance(handler.stream, JobStream)
        and record.levelno >= handler.level
    )
