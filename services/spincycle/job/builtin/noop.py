"""The job type noop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.job.job import Job, Return
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value


class Noop(Job):
    """Does nothing; completes immediately."""

    immediate = True
    creates_immediately = True

    def run(self, data: dict[str, Value]) -> Return:  # noqa: ARG002 - uses no job data
        """Do nothing."""
        return Return(State.COMPLETE)

    def status(self) -> str:
        """Return a constant text."""
        return "noop"
