from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from spincycle.graph import Expander, Expansion, Limits
from spincycle.job import Interruption, Job, JobId, Return, State
from spincycle.spec import Severity, Source, SpecSet, check_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spincycle.model.job_chain import JobChain, Value

    Create = Callable[[dict[str, Value]], object]


class AnyJob(Job):
    def __init__(self, create: Create | None) -> None:
        self._create = create

    def create(self, args: dict[str, Value]) -> None:
        if self._create is not None:
            return self._create(args)  # type: ignore[return-value] # may be a coroutine
        return None

    def serialize(self) -> bytes:
        return f'{{"id":"{self.id.id}"}}'.encode()

    def run(self, data: dict[str, Value]) -> Return:
        return Return(State.COMPLETE)


class AnyJobs:
    """A job factory for every type, with a configurable `create` per type."""

    def __init__(self) -> None:
        self.creates: dict[str, Create] = {}
        self.interruptions: dict[str, Interruption] = {}
        self.immediate: set[str] = set()
        self.made: list[JobId] = []

    def make(self, job_id: JobId) -> Job:
        job = AnyJob(self.creates.get(job_id.type))
        job.id = job_id
        self.made.append(job_id)
        return job

    def interruption(self, type: str) -> Interruption:  # noqa: A002 - the factory's own name
        return self.interruptions.get(type, "run-again")

    def creates_immediately(self, type: str) -> bool:  # noqa: A002 - the factory's own name
        return type in self.immediate


class Workbench:
    """Expands spec text with a job factory for every type."""

    def __init__(self) -> None:
        self.jobs = AnyJobs()
        self.limits = Limits(create_timeout=5.0)
        self._expanders: list[Expander] = []

    def specs(self, text: str) -> SpecSet:
        result = check_sources([Source("test.yaml", dedent(text))])
        errors = [f.text for f in result.findings if f.severity is Severity.ERROR]
        assert not errors, errors
        assert result.specs is not None
        return result.specs

    def expander(self) -> Expander:
        expander = Expander(self.jobs, self.limits)
        self._expanders.append(expander)
        return expander

    async def expand(self, text: str, request: str = "r", **args: Value) -> Expansion:
        return await self.expander().expand(self.specs(text), request, args, "request-id")

    async def chain(self, text: str, request: str = "r", **args: Value) -> JobChain:
        return (await self.expand(text, request, **args)).chain

    def close(self) -> None:
        for expander in self._expanders:
            expander.close()


@pytest.fixture
def bench() -> Iterator[Workbench]:
    workbench = Workbench()
    yield workbench
    workbench.close()
