from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from contextvars import copy_context

import pytest
import structlog
from structlog.testing import LogCapture

from spincycle.job import JobId
from spincycle.job.builtin.noop import Noop
from spincycle.job.current_job import enter_job
from spincycle.job.try_output import STDERR, TryOutput
from spincycle.job_runner.job_logs import install_job_logs
from spincycle.job_runner.standard_streams import JobStream
from spincycle.runtime.config import LogConfig
from spincycle.runtime.logs import configure_logs


class Logged:
    """What a job logged, and what the runner's log has."""

    def __init__(self, capture: LogCapture) -> None:
        self.output = TryOutput()
        self._capture = capture

    def in_job(self, call: Callable[[], object]) -> None:
        job = Noop()
        job.id = JobId("t", "copy", "aaaa", "r1", "copy")
        context = copy_context()
        context.run(enter_job, job, self.output)
        context.run(call)

    @property
    def text(self) -> str:
        return self.output.text(STDERR)

    @property
    def by_runner(self) -> list[dict[str, object]]:
        return [dict(entry) for entry in self._capture.entries]


# Not a fixture: pytest sets sys.stderr between the setup of a test and its call.
@contextmanager
def installed() -> Iterator[Logged]:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    with redirect_stderr(JobStream(sys.stderr, STDERR)):
        configure_logs(LogConfig(), "job-runner")
        install_job_logs()
        capture = LogCapture()
        structlog.configure(processors=[capture], cache_logger_on_first_use=False)
        try:
            yield Logged(capture)
        finally:
            root.handlers = before
            root.setLevel(level)
            structlog.reset_defaults()
            structlog.contextvars.clear_contextvars()


def test_a_job_logs_into_its_standard_error() -> None:
    with installed() as logged:
        log = logging.getLogger("of.a.job")
        logged.in_job(lambda: log.info("copied %d files", 3))
        logged.in_job(lambda: log.debug("not shown"))

        assert logged.text == "INFO of.a.job: copied 3 files\n"
        assert logged.by_runner == []


def test_a_traceback_is_logged_with_its_record() -> None:
    with installed() as logged:

        def fail() -> None:
            try:
                int("x")
            except ValueError:
                logging.getLogger("of.a.job").exception("copy failed")

        logged.in_job(fail)

        assert logged.text.startswith(
            "ERROR of.a.job: copy failed\nTraceback (most recent call last)"
        )
        assert logged.text.endswith("invalid literal for int() with base 10: 'x'\n")


def test_warnings_of_a_job_are_in_the_runners_log_with_its_ids() -> None:
    with installed() as logged:
        logged.in_job(lambda: logging.getLogger("of.a.job").warning("disk is full"))

        assert logged.text == "WARNING of.a.job: disk is full\n"
        [entry] = logged.by_runner
        assert entry == {
            "event": "job logged",
            "message": "disk is full",
            "logger": "of.a.job",
            "log_level": "warning",
            "request_id": "r1",
            "job_id": "aaaa",
            "path": "copy",
            "exc_info": None,
        }


def test_what_the_runners_libraries_log_is_not_a_jobs() -> None:
    with installed() as logged:
        logging.getLogger("a.library").info("not shown")
        logging.getLogger("a.library").warning("slow")

        [entry] = logged.by_runner
        assert (entry["event"], entry["library"]) == ("slow", True)
        assert not logged.output.used


@pytest.mark.parametrize("name", ["of.a.job", "of"])
def test_a_record_that_a_handler_prints_is_not_doubled(name: str) -> None:
    with installed() as logged:
        handler = logging.StreamHandler(sys.stderr)
        logging.getLogger(name).addHandler(handler)
        try:
            logged.in_job(lambda: logging.getLogger("of.a.job").error("once"))
            handler.setLevel(logging.CRITICAL)
            logged.in_job(lambda: logging.getLogger("of.a.job").error("as usual"))
        finally:
            logging.getLogger(name).removeHandler(handler)

        assert logged.text == "once\nERROR of.a.job: as usual\n"


def test_a_record_that_cannot_be_formatted_is_reported_to_the_job() -> None:
    with installed() as logged:
        logged.in_job(lambda: logging.getLogger("of.a.job").info("%d", "x"))
        assert "--- Logging error ---" in logged.text
