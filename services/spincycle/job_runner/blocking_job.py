"""Finds the job on whose behalf a thread runs, in the frames of its stack."""

from __future__ import annotations

from asyncio import Handle
from contextvars import Context
from typing import TYPE_CHECKING

from spincycle.job import Job, JobId
from spincycle.job.current_job import CURRENT_JOB
from spincycle.job_runner.job_objects import JobObjects
from spincycle.job_runner.task_factory import isolated_task
from spincycle.job_runner.try_execution import TryExecution
from spincycle.runtime.loop_monitor import Attribution

if TYPE_CHECKING:
    from types import FrameType

_CALLBACK = Handle._run.__code__  # noqa: SLF001 # no public name; the standard loop is in Python
_MAKE = JobObjects.get.__code__


_RUNNER = ("spincycle.job_runner.", "spincycle.chain.")
"""Packages of the code that calls jobs."""


def find_job(frame: FrameType) -> Attribution | None:
    """Return the job whose code runs in a stack, given its innermost frame; None if none does.

    Calls of the runner to a job's methods are found by their frames. Everything else that a job
    runs, its tasks and callbacks included, is called by the event loop in a context that
    inherited CURRENT_JOB. Nothing has to be recorded while jobs run.

    The runner's own callbacks may have inherited it as well; they are not job code.
    """
    frames = 0
    current: FrameType | None = frame
    inner: FrameType | None = None
    while current is not None:
        code = current.f_code
        if current.f_globals.get("__name__") == TryExecution.__module__:
            execution = current.f_locals.get("self")
            if isinstance(execution, TryExecution) and not _is_runner(inner):
                job = execution.job
                return _attribution(job.id, type(job).__module__, frames)
        if code is _MAKE:
            job_id: JobId | None = current.f_locals.get("job_id")
            if job_id is not None:
                return _attribution(job_id, "", frames)
        if code is _CALLBACK:
            if _is_runner(inner):
                return None
            context: Context = current.f_locals["self"]._context  # noqa: SLF001 # no public name
            called = context.get(CURRENT_JOB)
            if isinstance(called, Job):
                return _attribution(called.id, type(called).__module__, frames)
            return None
        if current.f_globals.get("__name__") != isolated_task.__module__:
            inner = current
        frames += 1
        current = current.f_back
    return None


def _is_runner(frame: FrameType | None) -> bool:
    return frame is not None and str(frame.f_globals.get("__name__")).startswith(_RUNNER)


def _attribution(job_id: JobId, module: str, frames: int) -> Attribution:
    fields = {
        "request_id": job_id.request_id,
        "job_id": job_id.id,
        "path": job_id.display_name,
        "job_type": job_id.type,
    }
    return Attribution(job_id, job_id.type, fields, module, max(frames, 1))
