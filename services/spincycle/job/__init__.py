"""API for job authors: the base class, its result, the registry of job types, and the errors.

from spincycle.job import Job, JobTypes, Return, State

jobs = JobTypes()

@jobs.register("greet")
class Greet(Job):
def run(self, data):
return Return(State.COMPLETE, stdout="hello")
"""

from spincycle.job.errors import (
    ArgNotSet,
    DataNotSet,
    DuplicateJobType,
    JobError,
    JobsNotLoaded,
    RunTimeout,
    UnknownJobType,
    WrongArgType,
    WrongDataType,
    WrongJobId,
)
from spincycle.job.job import Attempt, Job, JobId, Progress, Return
from spincycle.job.job_types import Interruption, JobTypes
from spincycle.job.loading import load_jobs
from spincycle.model.job_chain import Value
from spincycle.model.state import State

__all__ = [
    "ArgNotSet",
    "Attempt",
    "DataNotSet",
    "DuplicateJobType",
    "Interruption",
    "Job",
    "JobError",
    "JobId",
    "JobTypes",
    "JobsNotLoaded",
    "Progress",
    "Return",
    "RunTimeout",
    "State",
    "UnknownJobType",
    "Value",
    "WrongArgType",
    "WrongDataType",
    "WrongJobId",
    "load_jobs",
]
