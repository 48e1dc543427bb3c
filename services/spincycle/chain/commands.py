"""Commands from a chain's state to its executor, and the end of a try in return.

Classes that are instantiated per try are not frozen, since creating a frozen instance takes three
times as long. Do not modify an instance after passing it on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.model.job_chain import SuspendedJobChain, Value
    from spincycle.model.job_status import JobEvent
    from spincycle.model.journal_entry import JournalEntry


@dataclass(slots=True)
class StartTry:
    """Run a job once, as soon as a job slot is free, and report its end.

    Attributes:
        try_number: number of the try over the life of the request, starting at 1.
        is_retry: whether the try retries the job within one try of its sequence, so that the
            job's object is reused.
        key: see spincycle.job.Attempt.
    """

    job_id: str
    try_number: int
    is_retry: bool
    key: str


@dataclass(frozen=True, slots=True)
class StopTry:
    """Stop a try. A try that has not started ends at once as NOT_STARTED."""

    job_id: str


@dataclass(frozen=True, slots=True)
class WithdrawTry:
    """Withdraw a try that has not started; a started one continues."""

    job_id: str


@dataclass(slots=True)
class Append:
    """Append an entry to the journal and report its commit."""

    entry: JournalEntry


@dataclass(frozen=True, slots=True)
class Wait:
    """Start a timer that expires after `seconds`."""

    token: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CancelWait:
    """Cancel a timer."""

    token: int


@dataclass(slots=True)
class Publish:
    """Publish a change of a job once the journal is committed up to `position`."""

    event: JobEvent
    position: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Report the end of the chain; it is the last command."""

    report: FinishReport


@dataclass(frozen=True, slots=True)
class Continue:
    """Call `ChainState.proceed` before the next event: jobs are left to schedule."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """Report the saved state of the chain; it is the last command.

    Attributes:
        save: returns the saved state; may be called on any thread.
    """

    save: Callable[[], SuspendedJobChain]

    @property
    def suspended(self) -> SuspendedJobChain:
        """The saved state, computed on each access."""
        return self.save()


Command: TypeAlias = (
    "StartTry | StopTry | WithdrawTry | Append | Wait | CancelWait | Publish | Continue | Finish"
    " | Suspend"
)


@dataclass(frozen=True, slots=True)
class FinishReport:
    """How a chain ended.

    Attributes:
        state: COMPLETE, FAIL or STOPPED.
        finished_at: nanoseconds since 1970, UTC.
        finished_jobs: jobs that completed at any time in this run of the chain; see JobEvent.
        rolled_back_jobs: how many of them are not COMPLETE at the end.
        reason: why it ended; empty if it completed.
    """

    request_id: str
    epoch: int
    state: State
    finished_at: int
    finished_jobs: int
    rolled_back_jobs: int
    reason: str = ""

    @property
    def complete_jobs(self) -> int:
        """Number of jobs that are COMPLETE at the end."""
        return self.finished_jobs - self.rolled_back_jobs


def failed_report(
    request_id: str, epoch: int, now: int, counts: tuple[int, int], reason: str
) -> FinishReport:
    """Return the report of a failed chain; `counts` are its finished and rolled back jobs."""
    return FinishReport(request_id, epoch, State.FAIL, now, *counts, reason=reason)


@dataclass(slots=True)
class TryEnd:
    """How a try ended, before it is classified by the chain's rules.

    Attributes:
        state: COMPLETE, FAIL or STOPPED, as the job returned it.
        data: job data that the job left; only of a COMPLETE try.
        started_at: nanoseconds since 1970, UTC; 0 if the job could not be started.
        finished_at: same as `started_at`.
        started: False if it was stopped before it started; nothing else is set then.
        timed_out: whether it exceeded the job's timeout.
        ignored_stop: whether it did not end when it was stopped, and was abandoned.
        do_not_resume: whether it stays a failure although the job was being stopped.
    """

    state: State = State.STOPPED
    exit: int = 0
    error: str = ""
    stdout: str = ""
    stderr: str = ""
    data: dict[str, Value] = field(default_factory=dict)
    started_at: int = 0
    finished_at: int = 0
    started: bool = True
    timed_out: bool = False
    ignored_stop: bool = False
    do_not_resume: bool = False


NOT_STARTED = TryEnd(started=False)
