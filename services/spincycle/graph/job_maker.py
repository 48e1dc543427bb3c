"""Creates and serializes the jobs of a chain by their factory, with timeouts."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from spincycle.errors import ChainNotBuilt, PlanTooLarge
from spincycle.graph.values import deep_copy
from spincycle.graph.worker_threads import WorkAbandoned
from spincycle.job import JobId
from spincycle.model.job_path import path_within
from spincycle.model.redaction import scrubbed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spincycle.graph.worker_threads import StepMonitor
    from spincycle.job import Interruption, Job
    from spincycle.model.job_chain import Value


class JobFactory(Protocol):
    """The part of spincycle.job.JobTypes that the expansion uses."""

    def make(self, job_id: JobId) -> Job:
        """Return a new job object."""

    def interruption(self, type: str) -> Interruption:  # noqa: A002 - the factory's own name
        """Return what happens to an interrupted try of a job of this type."""

    def creates_immediately(self, type: str) -> bool:  # noqa: A002 - the factory's own name
        """Return whether jobs of this type are created and serialized without blocking."""


@dataclass(slots=True)
class SpecPlace:
    """Place in the specs, for errors.

    Attributes:
        element: number of the element of a repeated node, from 1; 0 if it is not repeated.
        around: path of the node whose sequence contains the node; empty for that of the request.
        path: path of the element that is being expanded; empty if there is none.
    """

    request_type: str
    sequence: str
    node: str
    job_type: str = ""
    element: int = 0
    around: str = ""
    path: str = ""

    def error(self, problem: str, argument: str = "", cause: str = "") -> ChainNotBuilt:
        """Return an error that names the place."""
        return ChainNotBuilt(
            f"{self._name}: {problem}",
            self.request_type,
            self.sequence,
            self.node,
            self.job_type,
            argument,
            cause,
        )

    def too_large(self, problem: str, jobs: int, size: int, limit: int) -> PlanTooLarge:
        """Return an error that names the place and the size that exceeds a limit there."""
        return PlanTooLarge(
            f"{self._name}: {problem}",
            self.request_type,
            self.sequence,
            self.node,
            jobs,
            size,
            limit,
        )

    @property
    def _name(self) -> str:
        element = f", element {self.element}" if self.element else ""
        path = self.path or path_within(self.around, self.node)
        says_no_more = path in {self.node, f"{self.node} [{self.element}]"}
        shown = "" if says_no_more else f" ({path})"
        return f"in seq {self.sequence}, node {self.node}{element}{shown}"


@dataclass(slots=True)
class CreatedJob:
    """Result of creating a job.

    Attributes:
        bytes: its serialized form.
        args: its arguments, as modified by its `create`.
    """

    bytes: bytes
    args: dict[str, Value]


class JobMaker:
    """Creates the jobs of one request, one after another, on one thread."""

    def __init__(self, factory: JobFactory, request_id: str, monitor: StepMonitor) -> None:
        self._factory = factory
        self._request_id = request_id
        self._monitor = monitor

    def make(
        self, place: SpecPlace, job_id: str, args: Mapping[str, Value], secret: tuple[str, ...]
    ) -> CreatedJob:
        """Make, create and serialize a job; `create` receives a copy of the arguments.

        Raises:
            ChainNotBuilt: one of the three steps failed; secret values are removed from the text.
            WorkAbandoned: the expansion was cancelled or has timed out.
        """
        identity = JobId(place.job_type, place.node, job_id, self._request_id, place.path)
        own = {name: deep_copy(value) for name, value in args.items()}
        step = "making"
        self._monitor.begin_step(place)
        try:
            job = self._factory.make(identity)
            step = "creating"
            self._create(job, own)
            step = "serializing"
            data = job.serialize()
        except (WorkAbandoned, MemoryError):
            raise
        except BaseException as error:  # noqa: BLE001 # a job author's code may raise anything
            cause = str(error) or type(error).__name__
            raise _failure(step, place, scrubbed(cause, args, secret)) from None
        finally:
            self._monitor.end_step()
        return CreatedJob(_as_bytes(data, place), own)

    def fails_if_interrupted(self, job_type: str) -> bool:
        """Return whether an interrupted try of a job of this type fails."""
        return self._factory.interruption(job_type) == "fail"

    def _create(self, job: Job, args: dict[str, Value]) -> None:
        outcome = job.create(args)
        if inspect.isawaitable(outcome):
            self._monitor.run_awaitable(outcome)


def _as_bytes(data: object, place: SpecPlace) -> bytes:
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    if data is None:
        return b""
    raise _failure("serializing", place, f"serialize returned {type(data).__name__}, not bytes")


def _failure(step: str, place: SpecPlace, cause: str) -> ChainNotBuilt:
    problem = f"cannot build job: error {step} '{place.job_type} {place.node}' job: {cause}"
    return place.error(problem, cause=cause)
