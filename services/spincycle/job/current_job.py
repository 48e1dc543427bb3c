"""The job on whose behalf code runs."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spincycle.job.job import Job

CURRENT_JOB: ContextVar[Job | None] = ContextVar("spincycle_current_job", default=None)
"""The job whose method is being called; None outside of jobs.

Tasks that a job creates inherit it. Threads that a job starts itself do not, unless it starts them
with `contextvars.copy_context().run`, as `asyncio.to_thread` does.
"""
