"""What a try's end means, given whether, and why, the job was told to stop."""

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
    """Why a running job was told to stop."""

    NONE = "none"
    STOP = "stop"
    SUSPEND = "suspend"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class TryOutcome:
    """What a try has come to.

    Attributes:
        state: COMPLETE, FAIL or STOPPED.
        error: why, if it is not COMPLETE.
        hopeless: the job must not be tried again in this try of its sequence.
    """

    state: State
    error: str = ""
    hopeless: bool = False


COMPLETE = TryOutcome(State.COMPLETE)
"""The verdict on what went well."""


def judge(job: ChainJob, end: TryEnd, order: StopCause, cause: str) -> TryOutcome:
    """Apply the rules to the end of a try.

    What is complete is complete; a limit that passed is a failure; a job that was told to
    stop has stopped; anything else is as the job said. `cause` says why an overdue job was
    told to stop.
    """
    if end.state is State.COMPLETE:
        return COMPLETE
    if order is StopCause.OVERDUE:
        return TryOutcome(State.FAIL, _with(cause, end), hopeless=True)
    if end.timed_out:
        limit = f"run timeout: the try took longer than {seconds_text(job.timeout or 0)}"
        return TryOutcome(State.FAIL, _with(limit, end))
    if order is StopCause.NONE:
        return TryOutcome(State.FAIL, end.error)
    if end.do_not_resume:
        return TryOutcome(State.FAIL, _with("do not resume", end), hopeless=True)
    if end.ignored_stop and (order is StopCause.STOP or job.fail_if_interrupted):
        return TryOutcome(State.FAIL, end.error, hopeless=order is StopCause.STOP)
    return TryOutcome(State.STOPPED, end.error)


def _with(cause: str, end: TryEnd) -> str:
    return f"{cause}: {end.error}" if end.error else cause


def seconds_text(seconds: float) -> str:
    """A time limit as a person would write it."""
    return format_duration(seconds) if seconds == int(seconds) else f"{seconds:g}s"
