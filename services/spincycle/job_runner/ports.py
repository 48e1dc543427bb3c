"""Interfaces between a chain's executor and the journal, the request manager and event readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.chain.commands import FinishReport
    from spincycle.errors import SpinCycleError
    from spincycle.identity.append_grants import AppendGrant
    from spincycle.job import JobTypes
    from spincycle.job_runner.fair_slots import FairSlots
    from spincycle.job_runner.try_environment import TryEnvironment
    from spincycle.model.job_chain import SuspendedJobChain
    from spincycle.model.job_status import JobEvent
    from spincycle.model.journal_entry import JournalEntry


class CommitListener(Protocol):
    """Receives the acknowledgements of a chain's entries. Calls may be repeated."""

    @property
    def append_grant(self) -> AppendGrant | None:
        """Entitles this runner to append the chain's entries; None without identities."""
        ...

    def committed(self, position: int) -> None:
        """All entries of the chain up to `position` are committed."""
        ...

    def refused(self, error: SpinCycleError) -> None:
        """An entry was rejected for good.

        `error` is StaleEpoch if another runner owns the request; its reason is NOT_YOURS if this
        runner may not append entries of it.
        """
        ...


class JournalAppender(Protocol):
    """Appends journal entries to the job log."""

    @property
    def full(self) -> bool:
        """Whether the runner should accept no chains because too many bytes await a commit."""
        ...

    def append(self, entry: JournalEntry, listener: CommitListener) -> None:
        """Append an entry; `listener` is called when it is committed or rejected.

        Entries of one chain must be appended in order of position. An entry is kept until the
        job log acknowledges it, however long that takes.
        """
        ...


class Reporter(Protocol):
    """Reports chains to the request manager; a report is resent until it is acknowledged."""

    def finished(self, report: FinishReport, running_time: int) -> None:
        """Report the end of a chain, all entries of which are committed.

        `running_time` is how long it ran on this runner, in nanoseconds.
        """
        ...

    def suspended(self, suspended: SuspendedJobChain) -> Callable[[], None]:
        """Encode the saved state of a chain, all entries of which are committed.

        May be called on any thread. Returns a function that sends the report; call it on the
        event loop.
        """
        ...

    def progress(self, request_id: str, epoch: int, finished: int, rolled_back: int) -> None:
        """Report the job counts of a chain; a later report replaces an earlier one."""
        ...


@dataclass(frozen=True, slots=True)
class ChainStarted:
    """A chain started on this runner. Times are nanoseconds since 1970, UTC."""

    request_id: str
    epoch: int
    sequence_number: int
    occurred_at: int


@dataclass(frozen=True, slots=True)
class ChainReleased:
    """A chain left this runner.

    Attributes:
        complete: the chain ended or was suspended, and all its events were published.
    """

    request_id: str
    epoch: int
    sequence_number: int
    occurred_at: int
    complete: bool


class EventSink(Protocol):
    """Publishes events of chains and jobs to readers. No method blocks or raises."""

    @property
    def enabled(self) -> bool:
        """Whether events have readers, or had until recently; otherwise they are discarded."""
        ...

    def publish(self, event: JobEvent) -> None:
        """Publish a change of a job."""
        ...

    def chain_started(self, chain: ChainStarted) -> None:
        """Publish the start of a chain; call it before the chain's other events."""
        ...

    def chain_released(self, chain: ChainReleased) -> None:
        """Publish the release of a chain; call it after the chain's other events."""
        ...


@dataclass(frozen=True, slots=True)
class ChainDependencies:
    """What all chains of one runner share.

    Attributes:
        job_slots: limits the number of running jobs.
        draw: returns random numbers in [0, 1).
        new_clock: returns a clock for one chain: nanoseconds since 1970, UTC; never goes back.
    """

    journal: JournalAppender
    reporter: Reporter
    events: EventSink
    jobs: JobTypes
    job_slots: FairSlots
    environment: TryEnvironment
    draw: Callable[[], float]
    new_clock: Callable[[], Callable[[], int]]
