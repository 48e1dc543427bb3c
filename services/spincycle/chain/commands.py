"""What a chain's state asks its traverser to do, and what it is told of a try's end.

What is made for every try is not frozen, since making a frozen object takes three times as long.
Nobody changes one that was handed over.
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
    """Run a job once, as soon as there is room, and tell its end.

    Attributes:
        try_: number of the try.
        again: the try follows another one of the same run, so that the job's object can be
            used again.
        key: what the try has in common with the one whose place it takes; see
            spincycle.job.Attempt.
    """

    job_id: str
    try_: int
    again: bool
    key: str


@dataclass(frozen=True, slots=True)
class StopTry:
    """Make a try end soon. One that has not begun yet ends at once, as not started."""

    job_id: str


@dataclass(frozen=True, slots=True)
class WithdrawTry:
    """Do not begin a try any more; one that has begun goes on."""

    job_id: str


@dataclass(slots=True)
class Append:
    """Put an entry into the journal, and tell when it is committed."""

    entry: JournalEntry


@dataclass(frozen=True, slots=True)
class Wait:
    """Tell when so many seconds have passed."""

    token: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CancelWait:
    """Forget a wait."""

    token: int


@dataclass(slots=True)
class Publish:
    """Tell watchers that a job changed, once the journal is committed up to `position`."""

    event: JobEvent
    position: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Report the end of the chain. Nothing follows."""

    report: FinishReport


@dataclass(frozen=True, slots=True)
class Continue:
    """Have the state go on before the next event: there was too much to do at once."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """Report the saved state of the chain. Nothing follows.

    Attributes:
        save: makes the saved state; may be called on any thread.
    """

    save: Callable[[], SuspendedJobChain]

    @property
    def suspended(self) -> SuspendedJobChain:
        """The saved state, which each access computes."""
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
        finished_jobs: jobs that ever completed in this run of the chain; see JobEvent.
        rolled_back_jobs: those of them that are not COMPLETE in the end.
        reason: why, where that is not plain.
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
        """Jobs that are COMPLETE in the end."""
        return self.finished_jobs - self.rolled_back_jobs


def broken(
    request_id: str, epoch: int, now: int, counts: tuple[int, int], reason: str
) -> FinishReport:
    """The end of a chain that cannot go on, with its counts of finished and rolled back jobs."""
    return FinishReport(request_id, epoch, State.FAIL, now, *counts, reason=reason)


@dataclass(slots=True)
class TryEnd:
    """How a try ended, before the chain's rules say what that means.

    Attributes:
        state: COMPLETE, FAIL or STOPPED, as the job returned it.
        data: what the job left; only of a COMPLETE try.
        started_at: nanoseconds since 1970, UTC; 0 if the job could not be started.
        finished_at: likewise.
        begun: False if it was stopped before it began; nothing else is set then.
        timed_out: its own time limit had passed.
        ignored_stop: it did not end when it was told to, and was abandoned.
        do_not_resume: a failure that stays one although the job was being stopped.
    """

    state: State = State.STOPPED
    exit: int = 0
    error: str = ""
    stdout: str = ""
    stderr: str = ""
    data: dict[str, Value] = field(default_factory=dict)
    started_at: int = 0
    finished_at: int = 0
    begun: bool = True
    timed_out: bool = False
    ignored_stop: bool = False
    do_not_resume: bool = False


NOT_BEGUN = TryEnd(begun=False)
