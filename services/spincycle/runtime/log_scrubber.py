"""Removes the secrets of requests from the log lines of a process that runs job code."""

from __future__ import annotations

import threading
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import structlog

if TYPE_CHECKING:
    from spincycle.model.scrubber import Scrubber

_OWN = frozenset({"event", "timestamp", "level", "service", "request_id", "job_id", "epoch"})
"""Fields that the service sets, which hold no text of a job, except the event of a library."""


class LogScrubber:
    """Processor of log lines that removes the secrets of the requests that are known to it.

    A traceback, and what libraries and jobs write with `logging`, may contain texts of jobs.
    A request is known while its scrubber is in memory: also for a task that a job left behind.
    Thread-safe.
    """

    def __init__(self) -> None:
        self._scrubbers: WeakSet[Scrubber] = WeakSet()
        self._lock = threading.Lock()

    def add(self, scrubber: Scrubber) -> None:
        """Remove the secrets of a request from now on."""
        with self._lock:
            self._scrubbers.add(scrubber)

    def install(self) -> None:
        """Process the log lines of this process before they are rendered.

        The traceback of a thread that fails, which may be a job's, is logged instead of printed.
        """
        *processors, renderer = structlog.get_config()["processors"]
        structlog.configure(processors=[*processors, self, renderer])
        threading.excepthook = _log_failure

    def __call__(
        self, logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Return the fields of a line without secrets."""
        with self._lock:
            scrubbers = list(self._scrubbers)
        if not scrubbers:
            return event
        event = structlog.processors.format_exc_info(logger, method, event)
        for name, value in event.items():
            if name not in _OWN or (name == "event" and "library" in event):
                event[name] = _scrubbed(value, scrubbers)
        return event


def _log_failure(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_type is not SystemExit:
        name = failure.thread.name if failure.thread is not None else ""
        structlog.get_logger().error("thread failed", thread=name, exc_info=failure.exc_value)


def _scrubbed(value: Any, scrubbers: list[Scrubber]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return {name: _scrubbed(element, scrubbers) for name, element in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrubbed(element, scrubbers) for element in value]
    text = str(value)
    scrubbed = text
    for scrubber in scrubbers:
        scrubbed = scrubber.text(scrubbed)
    return value if scrubbed == text else scrubbed
