"""Job objects of one chain: one per job, reused when the job is retried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.job import JobId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spincycle.chain.commands import StartTry
    from spincycle.job import Job, JobTypes
    from spincycle.model.job_chain import ChainJob as PlannedJob


class JobObjects:
    """Creates job objects and keeps those of jobs that may be retried."""

    __slots__ = ("_kept", "_planned", "_request_id", "_types")

    def __init__(self, request_id: str, planned: Mapping[str, PlannedJob], types: JobTypes) -> None:
        self._request_id = request_id
        self._planned = planned
        self._types = types
        self._kept: dict[str, Job] = {}

    def get(self, command: StartTry) -> Job:
        """Return the object for a try.

        Raises whatever the job's factory or its `deserialize` raises.
        """
        kept = self._kept.get(command.job_id)
        if command.is_retry and kept is not None:
            return kept
        planned = self._planned[command.job_id]
        job = self._types.make(
            JobId(planned.type, planned.name, planned.id, self._request_id, planned.path)
        )
        job.deserialize(planned.bytes)
        if planned.retry:
            self._kept[command.job_id] = job
        return job

    def discard(self, job_id: str) -> None:
        """Do not reuse the job's object."""
        self._kept.pop(job_id, None)
