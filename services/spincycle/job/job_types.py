"""Registry of job types: the class or function that creates the jobs of each type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from spincycle.job.errors import DuplicateJobType, UnknownJobType, WrongJobId

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.job.job import Job, JobId

Interruption: TypeAlias = Literal["run-again", "fail"]
"""What happens to a try that was interrupted by the loss of its runner.

`run-again`: the job runs again under the next try number (at least once). `fail`: the try fails
(at most once)."""

_JobClass = TypeVar("_JobClass", bound="type[Job]")


@dataclass(frozen=True, slots=True)
class _Entry:
    make: Callable[[JobId], Job]
    interruption: Interruption
    creates_immediately: bool


class JobTypes:
    """Registry of job types; request managers and runners must load the same types.

    jobs = JobTypes()

    @jobs.register("pay", interruption="fail")
    class Pay(Job): ...
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def register(
        self,
        type: str,  # noqa: A002 - the proto's field name
        *,
        interruption: Interruption = "run-again",
    ) -> Callable[[_JobClass], _JobClass]:
        """Return a class decorator that registers a class, whose constructor has no parameters.

        Raises:
            DuplicateJobType: `type` is already registered.
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
        """Register a function that creates the jobs of `type`.

        `make` must set `job.id` to its argument. With `creates_immediately` neither `make` nor the
        jobs' `create` and `serialize` may block; see Job.

        Raises:
            DuplicateJobType: `type` is already registered.
        """
        if type in self._entries:
            raise DuplicateJobType(type)
        self._entries[type] = _Entry(make, interruption, creates_immediately)

    def make(self, job_id: JobId) -> Job:
        """Return a new job object.

        Raises:
            UnknownJobType: the id's type is not registered.
            WrongJobId: the registered function set another id.
        """
        job = self._entry(job_id.type).make(job_id)
        if getattr(job, "id", None) != job_id:
            raise WrongJobId
        return job

    def types(self) -> frozenset[str]:
        """Return all registered types."""
        return frozenset(self._entries)

    def interruption(self, type: str) -> Interruption:  # noqa: A002 - the proto's field name
        """Return what happens to an interrupted try of a job of this type.

        Raises:
            UnknownJobType: the type is not registered.
        """
        return self._entry(type).interruption

    def creates_immediately(self, type: str) -> bool:  # noqa: A002 - the proto's field name
        """Return whether the type is registered and its jobs are created without blocking."""
        entry = self._entries.get(type)
        return entry is not None and entry.creates_immediately

    def merge(self, other: JobTypes) -> None:
        """Add every type of `other`.

        Raises:
            DuplicateJobType: both have a type; nothing is added.
        """
        for type_ in sorted(other._entries.keys() & self._entries.keys()):
            raise DuplicateJobType(type_)
        self._entries.update(other._entries)

    @classmethod
    def combine(cls, *factories: JobTypes) -> JobTypes:
        """Return a registry with the types of all of them.

        Raises:
            DuplicateJobType: two of them have a type.
        """
        combined = cls()
        for factory in factories:
            combined.merge(factory)
        return combined

    def over(self, fallback: JobTypes) -> JobTypes:
        """Return a registry with the types of both; this one's override those of `fallback`."""
        joined = JobTypes()
        joined._entries = {**fallback._entries, **self._entries}
        return joined

    def _entry(self, type_: str) -> _Entry:
        try:
            return self._entries[type_]
        except KeyError:
            raise UnknownJobType(type_) from None
