"""One job of a chain from its factory: made, created, serialized, under a watch."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from spincycle.errors import ChainNotBuilt, PlanTooLarge
from spincycle.graph.values import copied
from spincycle.graph.worker_threads import GivenUp
from spincycle.job import JobId
from spincycle.model.redaction import scrubbed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spincycle.graph.worker_threads import WorkWatch
    from spincycle.job import Interruption, Job
    from spincycle.model.job_chain import Value


class JobFactory(Protocol):
    """What the expansion asks of spincycle.job.JobTypes."""

    def make(self, job_id: JobId) -> Job:
        """A new job object."""

    def interruption(self, type: str) -> Interruption:  # noqa: A002 - the factory's own name
        """What becomes of an interrupted try of a job of this type."""

    def creates_immediately(self, type: str) -> bool:  # noqa: A002 - the factory's own name
        """Whether jobs of this type are made, created and serialized without waiting."""


@dataclass(slots=True)
class SpecPlace:
    """Where in the specs a chain is being built, for errors.

    Attributes:
        element: place of the element of a repeated node, from 1; 0 if it is not repeated.
    """

    request_type: str
    sequence: str
    node: str
    job_type: str = ""
    element: int = 0

    def error(self, problem: str, argument: str = "", cause: str = "") -> ChainNotBuilt:
        """An error that names the place."""
        return ChainNotBuilt(
            f"{self._name}: {problem}",
            self.request_type, self.sequence, self.node, self.job_type, argument, cause,
        )  # fmt: skip

    def too_large(self, problem: str, jobs: int, size: int, limit: int) -> PlanTooLarge:
        """An error that names the place, and the size that grew there over a limit."""
        return PlanTooLarge(
            f"{self._name}: {problem}",
            self.request_type, self.sequence, self.node, jobs, size, limit,
        )  # fmt: skip

    @property
    def _name(self) -> str:
        element = f", element {self.element}" if self.element else ""
        return f"in seq {self.sequence}, node {self.node}{element}"


@dataclass(slots=True)
class MadeJob:
    """What is kept of a job object.

    Attributes:
        args: the arguments as its create left them.
    """

    bytes: bytes
    args: dict[str, Value]


class JobMaker:
    """Makes the jobs of one request, one after another, on one thread."""

    def __init__(self, factory: JobFactory, request_id: str, watch: WorkWatch) -> None:
        self._factory = factory
        self._request_id = request_id
        self._watch = watch

    def make(
        self, place: SpecPlace, job_id: str, args: Mapping[str, Value], secret: tuple[str, ...]
    ) -> MadeJob:
        """Make, create and serialize a job; `create` gets a copy of the arguments.

        Raises:
            ChainNotBuilt: one of the three failed; secret values do not occur in the text.
            GivenUp: nobody waits any more.
        """
        identity = JobId(place.job_type, place.node, job_id, self._request_id)
        own = {name: copied(value) for name, value in args.items()}
        doing = "making"
        self._watch.begin(place)
        try:
            job = self._factory.make(identity)
            doing = "creating"
            self._create(job, own)
            doing = "serializing"
            data = job.serialize()
        except (GivenUp, MemoryError):
            raise
        except BaseException as error:  # noqa: BLE001 # a job author's code may raise anything
            cause = str(error) or type(error).__name__
            raise _refusal(doing, place, scrubbed(cause, args, secret)) from None
        finally:
            self._watch.end()
        return MadeJob(_as_bytes(data, place), own)

    def fails_if_interrupted(self, job_type: str) -> bool:
        """Whether the type says that an interrupted try has failed."""
        return self._factory.interruption(job_type) == "fail"

    def _create(self, job: Job, args: dict[str, Value]) -> None:
        outcome = job.create(args)
        if inspect.isawaitable(outcome):
            self._watch.wait_for(outcome)


def _as_bytes(data: object, place: SpecPlace) -> bytes:
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    if data is None:
        return b""
    raise _refusal("serializing", place, f"serialize returned {type(data).__name__}, not bytes")


def _refusal(doing: str, place: SpecPlace, cause: str) -> ChainNotBuilt:
    problem = f"cannot build job: error {doing} '{place.job_type} {place.node}' job: {cause}"
    return place.error(problem, cause=cause)
