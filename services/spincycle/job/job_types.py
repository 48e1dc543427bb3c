"""The job factory: which class, or function, makes the jobs of a type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from spincycle.job.errors import DuplicateJobType, UnknownJobType, WrongJobId

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.job.job import Job, JobId

Interruption: TypeAlias = Literal["run-again", "fail"]
"""What becomes of a try that its runner's death interrupted: see Interruption in the protos."""

_JobClass = TypeVar("_JobClass", bound="type[Job]")


@dataclass(frozen=True, slots=True)
class _Entry:
    make: Callable[[JobId], Job]
    interruption: Interruption
    creates_immediately: bool


class JobTypes:
    """Makes jobs by type. The request manager and the runner must know the same types."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def register(
        self,
        type: str,  # noqa: A002 - the proto's field name
        *,
        interruption: Interruption = "run-again",
    ) -> Callable[[_JobClass], _JobClass]:
        """Class decorator: jobs of `type` are objects of this class, made without arguments.

        Raises:
            DuplicateJobType: `type` is registered already.
        """

        def add(job_class: _JobClass) -> _JobClass:
            def make(job_id: JobId) -> Job:
                job: Job = job_class()
                job.id = job_id
                return job

            self.add(
                type,
                make,
                interruption=interruption,
                creates_immediately=job_class.creates_immediately,
            )
            return job_class

        return add

    def add(
        self,
        type: str,  # noqa: A002 - the proto's field name
        make: Callable[[JobId], Job],
        *,
        interruption: Interruption = "run-again",
        creates_immediately: bool = False,
    ) -> None:
        """Have `make` make the jobs of `type`; it sets `job.id` to the id it is given.

        With `creates_immediately` neither `make` nor the jobs' own create and serialize wait;
        see Job.

        Raises:
            DuplicateJobType: `type` is registered already.
        """
        if type in self._entries:
            raise DuplicateJobType(type)
        self._entries[type] = _Entry(make, interruption, creates_immediately)

    def make(self, job_id: JobId) -> Job:
        """A new job object.

        Raises:
            UnknownJobType: nothing is registered for the id's type.
            WrongJobId: the factory gave the job another id.
        """
        job = self._entry(job_id.type).make(job_id)
        if getattr(job, "id", None) != job_id:
            raise WrongJobId
        return job

    def types(self) -> frozenset[str]:
        """All types that `make` knows."""
        return frozenset(self._entries)

    def interruption(self, type: str) -> Interruption:  # noqa: A002 - the proto's field name
        """What becomes of an interrupted try of a job of this type.

        Raises:
            UnknownJobType: nothing is registered for the type.
        """
        return self._entry(type).interruption

    def creates_immediately(self, type: str) -> bool:  # noqa: A002 - the proto's field name
        """Whether jobs of this type, if there is one, are made and created without waiting."""
        entry = self._entries.get(type)
        return entry is not None and entry.creates_immediately

    def merge(self, other: JobTypes) -> None:
        """Take over every type of `other`.

        Raises:
            DuplicateJobType: both know a type. Nothing is taken over then.
        """
        for type_ in sorted(other._entries.keys() & self._entries.keys()):
            raise DuplicateJobType(type_)
        self._entries.update(other._entries)

    @classmethod
    def combine(cls, *factories: JobTypes) -> JobTypes:
        """One factory that knows the types of all of them.

        Raises:
            DuplicateJobType: two of them know a type.
        """
        combined = cls()
        for factory in factories:
            combined.merge(factory)
        return combined

    def over(self, fallback: JobTypes) -> JobTypes:
        """A factory that knows the types of both, where this one's come first."""
        joined = JobTypes()
        joined._entries = {**fallback._entries, **self._entries}
        return joined

    def _entry(self, type_: str) -> _Entry:
        try:
            return self._entries[type_]
        except KeyError:
            raise UnknownJobType(type_) from None
