"""The job on whose behalf code runs, and the output of its try."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spincycle.job.job import Job
    from spincycle.job.try_output import TryOutput

CURRENT_JOB: ContextVar[Job | None] = ContextVar("spincycle_current_job", default=None)
"""The job whose method is being called; None outside of jobs.

Tasks that a job creates inherit it. Threads that a job starts itself do not, unless it starts them
with `contextvars.copy_context().run`, as `asyncio.to_thread` does.
"""

CURRENT_OUTPUT: ContextVar[TryOutput | None] = ContextVar("spincycle_current_output", default=None)
"""Output of the try that CURRENT_JOB runs; None outside of jobs.

A job object is reused for retries: what a task prints that outlived its try does not belong to the
next one.
"""


def enter_job(job: Job, output: TryOutput) -> None:
    """Attribute what follows in this context to a try of a job."""
    CURRENT_JOB.set(job)
    CURRENT_OUTPUT.set(output)


def leave_job() -> None:
    """Attribute what follows in this context to no job."""
    if CURRENT_JOB.get() is not None:
        CURRENT_JOB.set(None)
        CURRENT_OUTPUT.set(None)
