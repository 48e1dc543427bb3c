"""What a chain's traverser is given: where entries, reports and events go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.chain.commands import FinishReport
    from spincycle.errors import SpinCycleError
    from spincycle.job import JobTypes
    from spincycle.job_runner.fair_slots import FairSlots
    from spincycle.job_runner.try_execution import TryEnvironment
    from spincycle.model.job_chain import SuspendedJobChain
    from spincycle.model.job_status import JobEvent
    from spincycle.model.journal_entry import JournalEntry


class CommitListener(Protocol):
    """Whoever appends entries of a chain. Nothing that is told must come only once."""

    def committed(self, position: int) -> None:
        """All its entries up to a position are committed."""
        ...

    def refused(self, error: SpinCycleError) -> None:
        """An entry is not stored, and never will be.

        That is a StaleEpoch if another runner owns the request.
        """
        ...


class JournalAppender(Protocol):
    """The job log, as a runner sees it."""

    @property
    def full(self) -> bool:
        """Whether so much waits for its commit that no further chain should be taken."""
        ...

    def append(self, entry: JournalEntry, author: CommitListener) -> None:
        """Take an entry, and tell its author when it is committed, or refused.

        Entries of one chain come in order of position. However long the job log is away,
        the entry is kept.
        """
        ...


class Reporter(Protocol):
    """The request manager, as a runner sees it. What is handed over is sent until it is taken."""

    def finished(self, report: FinishReport, running_time: int) -> None:
        """The chain, which ran here for so many nanoseconds, has ended.

        Every entry of it is committed.
        """
        ...

    def suspended(self, suspended: SuspendedJobChain) -> Callable[[], None]:
        """The chain has been suspended. Every entry of it is committed.

        May be called on any thread. Returns what reports it, to be called on the event loop.
        """
        ...

    def progress(self, request_id: str, epoch: int, finished: int, rolled_back: int) -> None:
        """Counts of a chain have moved; only the last ones need to arrive."""
        ...


@dataclass(frozen=True, slots=True)
class ChainBegun:
    """A chain begins, under an epoch; times are nanoseconds since 1970, UTC."""

    request_id: str
    epoch: int
    sequence_number: int
    occurred_at: int


@dataclass(frozen=True, slots=True)
class ChainLeft:
    """A chain is no longer here.

    Attributes:
        all_told: it ended or was suspended, and every event of it was published.
    """

    request_id: str
    epoch: int
    sequence_number: int
    occurred_at: int
    all_told: bool


class Events(Protocol):
    """Whoever watches jobs. No method blocks or raises."""

    @property
    def wanted(self) -> bool:
        """Whether anybody watches, or has watched a moment ago."""
        ...

    def publish(self, event: JobEvent) -> None:
        """Pass a change of a job on."""
        ...

    def begun(self, chain: ChainBegun) -> None:
        """Tell that a chain begins, before all its events."""
        ...

    def left(self, chain: ChainLeft) -> None:
        """Tell that a chain is gone, after all its events."""
        ...


@dataclass(frozen=True, slots=True)
class ChainDependencies:
    """All that the chains of one runner share.

    Attributes:
        places: room for running jobs.
        draw: random numbers from 0 up to, but not including, 1.
        new_clock: makes the clock of one chain: nanoseconds since 1970, UTC, never set back.
    """

    journal: JournalAppender
    reporter: Reporter
    events: Events
    jobs: JobTypes
    places: FairSlots
    workshop: TryEnvironment
    draw: Callable[[], float]
    new_clock: Callable[[], Callable[[], int]]
