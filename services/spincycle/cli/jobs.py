"""Finds the jobs of a request that a text stands for: an id, a path, its end, or a name."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from spincycle.cli.problem import Problem
from spincycle.cli.render.job_path import job_title
from spincycle.cli.render.text import cell_width, pad, quote
from spincycle.errors import SpinCycleError
from spincycle.model.state import State
from spincycle.text.nearest import MAX_CANDIDATES, is_comparable, most_similar

if TYPE_CHECKING:
    from spincycle.cli.transport.backend import Backend
    from spincycle.v1 import job_chain_pb2

_MAX_LISTED = 10
"""Candidates that an error lists at most."""

_MAX_SUGGESTED = 3


class Rank(IntEnum):
    """How a text stands for a job; the best rank that any job has decides."""

    ID = 1
    PATH = 2
    SPELLING = 3
    """The path, apart from case and from blanks around slashes."""
    END = 4
    """Whole words at the end of the path, or the name."""


class NamedTry(Protocol):
    """A message about a try of a job."""

    @property
    def job_id(self) -> str:
        """Id of the job."""

    @property
    def path(self) -> str:
        """Path of the job, or empty."""

    @property
    def name(self) -> str:
        """Name of the job."""


class JobPattern:
    """A text that stands for one or more jobs."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spelling = _spelling(text).strip("/")

    def rank(self, job_id: str, path: str, name: str) -> Rank | None:
        """Return how the text stands for the job; None if it does not."""
        if job_id == self.text:
            return Rank.ID
        if path and path == self.text:
            return Rank.PATH
        if not self.spelling:
            return None
        spelling = _spelling(path)
        if spelling == self.spelling:
            return Rank.SPELLING
        ends = ("/" + self.spelling, " " + self.spelling)
        if spelling.endswith(ends) or _spelling(name) == self.spelling:
            return Rank.END
        return None

    def is_around(self, path: str) -> bool:
        """Return whether the text stands for a sequence that contains the job with this path."""
        around = f"{self.spelling}/"
        spelling = _spelling(path)
        return bool(self.spelling) and (
            spelling.startswith(around) or f"/{around}" in spelling or f" {around}" in spelling
        )


# A chain repeats the names of its jobs, and each path is compared several times in a row.
@lru_cache(maxsize=64)
def _spelling(text: str) -> str:
    """Return the text without case and without blanks around slashes."""
    return " ".join(text.casefold().split()).replace(" /", "/").replace("/ ", "/")


@dataclass(frozen=True, slots=True, order=True)
class FoundJob:
    """A job of a request.

    Attributes:
        title: its path; its name in a chain that was stored without paths.
    """

    title: str
    id: str


class _Listed:
    """Counts jobs, and keeps the first ones by title for a list."""

    def __init__(self) -> None:
        self.jobs: list[FoundJob] = []
        self.count = 0

    def add(self, job: job_chain_pb2.Job) -> None:
        self.count += 1
        insort(self.jobs, FoundJob(job_title(job), job.id))
        del self.jobs[_MAX_LISTED:]


class JobSelection:
    """The jobs that a text stands for; they are added as the chain is read.

    Only the first candidates are kept, whatever the size of the chain.
    """

    def __init__(self, text: str) -> None:
        self._pattern = JobPattern(text)
        self._rank: Rank | None = None
        self._matches = _Listed()
        self._inner = _Listed()
        self._similar: dict[str, str] = {}

    @property
    def is_unknown(self) -> bool:
        """Whether the text stands for no job."""
        return self._rank is None

    @property
    def only_job(self) -> FoundJob | None:
        """The job, if the text stands for exactly one."""
        return self._matches.jobs[0] if self._matches.count == 1 else None

    def add(self, job: job_chain_pb2.Job) -> None:
        """Add a job of the chain."""
        rank = self._pattern.rank(job.id, job.path, job.name)
        if rank is not None:
            if self._rank is None or rank < self._rank:
                self._rank, self._matches = rank, _Listed()
            if rank == self._rank:
                self._matches.add(job)
        if self._rank is None and not job.structural:
            if self._pattern.is_around(job.path):
                self._inner.add(job)
            self._add_similar(job)

    def _add_similar(self, job: job_chain_pb2.Job) -> None:
        """Keep the spellings of the job that the text may be a typo of."""
        if len(self._similar) >= MAX_CANDIDATES:
            return
        spelling = _spelling(job.path)
        parts = spelling.split("/")
        end = "/".join(parts[-self._pattern.spelling.count("/") - 1 :])
        for known in (spelling, end, end.partition(" ")[2], _spelling(job.name)):
            if is_comparable(self._pattern.spelling, known):
                self._similar.setdefault(known, job_title(job))

    def includes(self, item: NamedTry) -> bool:
        """Return whether an entry or a piece of output belongs to one of the jobs."""
        if self._matches.count == 1:
            return item.job_id == self._matches.jobs[0].id
        return self._pattern.rank(item.job_id, item.path, item.name) == self._rank

    async def problem(self, services: Backend, request_id: str) -> Problem:
        """Return the error that the text does not stand for exactly one job."""
        text = quote(self._pattern.text)
        if self._rank is not None:
            return Problem(
                f"{self._matches.count} jobs of request {request_id} match {text}",
                "give the id or the path of one",
                await _candidates(services, request_id, self._matches),
            )
        if self._inner.count:
            return Problem(
                f"{text} of request {request_id} is a sequence, not a job",
                "give the id or the path of one of its jobs",
                await _candidates(services, request_id, self._inner),
            )
        similar = most_similar(self._pattern.spelling, self._similar, _MAX_SUGGESTED)
        titles = list(dict.fromkeys(self._similar[known] for known in similar))
        return Problem(
            f"request {request_id} has no job {text}",
            f"run 'spinc log {request_id}' to list the jobs that ran",
            tuple(f'did you mean "{title}"?' for title in titles),
        )


async def select_jobs(
    services: Backend, request_id: str, texts: Sequence[str]
) -> list[JobSelection]:
    """Return the jobs that each text stands for, after reading the chain once.

    Raises:
        Problem: a text stands for no job.
    """
    selections = [JobSelection(text) for text in texts]
    async for job in services.jobs(request_id):
        for selection in selections:
            selection.add(job)
    for selection in selections:
        if selection.is_unknown:
            raise await selection.problem(services, request_id)
    return selections


async def find_jobs(services: Backend, request_id: str, texts: Sequence[str]) -> list[FoundJob]:
    """Return the job that each text stands for.

    Raises:
        Problem: a text stands for no job or for several.
    """
    found: list[FoundJob] = []
    for selection in await select_jobs(services, request_id, texts):
        job = selection.only_job
        if job is None:
            raise await selection.problem(services, request_id)
        found.append(job)
    return found


async def job_states(services: Backend, request_id: str, job_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of the states of jobs: of running ones, else that of the last try.

    A job without a try is PENDING.

    Raises:
        SpinCycleError: a read failed.
    """
    from spincycle.cli.render.layout import state_name
    from spincycle.cli.transport.backend import EntryFilter

    response = await services.running(request_id)
    running = {job.job_id for job in response.status.jobs}
    states: dict[str, str] = {}
    for job_id in job_ids:
        states[job_id] = State.RUNNING.name if job_id in running else State.PENDING.name
        if job_id not in running:
            selected = EntryFilter(job_id=job_id, without_output=True)
            async for entry in services.entries(request_id, selected):
                states[job_id] = state_name(entry.state)
    return states


async def _candidates(services: Backend, request_id: str, listed: _Listed) -> tuple[str, ...]:
    """Return a line per job: id, path and state; the state is left out if it cannot be read."""
    states: dict[str, str] = {}
    try:
        states = await job_states(services, request_id, [job.id for job in listed.jobs])
    except SpinCycleError:
        # The candidates are worth showing without the job log, too.
        states = {}
    width = max(cell_width(job.title) for job in listed.jobs)
    lines = [
        f"{job.id}  {pad(job.title, width)}  {states.get(job.id, '')}".rstrip()
        for job in listed.jobs
    ]
    rest = listed.count - len(listed.jobs)
    return (*lines, f"and {rest} more") if rest else tuple(lines)
