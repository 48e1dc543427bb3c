"""Classifies the end of a try, given whether and why the job was stopped."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from spincycle.model.duration import format_duration
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.chain.commands import TryEnd
    from spincycle.model.job_chain import ChainJob


class StopCause(Enum):
    """Why a running job is being stopped."""

    NONE = "none"
    STOP = "stop"
    SUSPEND = "suspend"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class TryOutcome:
    """Outcome of a try.

    Attributes:
        state: COMPLETE, FAIL or STOPPED.
        error: why it is not COMPLETE; empty otherwise.
        non_retryable: whether the job must not be retried in this try of its sequence.
    """

    state: State
    error: str = ""
    non_retryable: bool = False


COMPLETE = TryOutcome(State.COMPLETE)


def classify(job: ChainJob, end: TryEnd, stop_cause: StopCause, reason: str) -> TryOutcome:
    """Return the outcome of a try.

    A complete try is COMPLETE; an exceeded time limit is a failure; a job that was being stopped
    is STOPPED; otherwise the job's own result counts. `reason` is the error of an overdue job.
    """
    if end.state is State.COMPLETE:
        return COMPLETE
    if stop_cause is StopCause.OVERDUE:
        return TryOutcome(State.FAIL, _with(reason, end), non_retryable=True)
    if end.timed_out:
        limit = f"run timeout: the try took longer than {seconds_text(job.timeout or 0)}"
        return TryOutcome(State.FAIL, _with(limit, end))
    if stop_cause is StopCause.NONE:
        return TryOutcome(State.FAIL, end.error)
    if end.do_not_resume:
        return TryOutcome(State.FAIL, _with("do not resume", end), non_retryable=True)
    if end.ignored_stop and (stop_cause is StopCause.STOP or job.fail_if_interrupted):
        return TryOutcome(State.FAIL, end.error, non_retryable=stop_cause is StopCause.STOP)
    return TryOutcome(State.STOPPED, end.error)


def _with(reason: str, end: TryEnd) -> str:
    return f"{reason}: {end.error}" if end.error else reason


def seconds_text(seconds: float) -> str:
    """Format a time limit for display."""
    return format_duration(seconds) if seconds == int(seconds) else f"{seconds:g}s"
