"""From what a job did, returned or raised to the plain end of a try."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.chain.commands import TryEnd
from spincycle.chain.job_data import DATA_LIMIT, UnfitJobData, own_copy
from spincycle.job import JobError, Return
from spincycle.job.bounded_output import OUTPUT_LIMIT, bounded_text
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value

_ERROR_LIMIT = 16 * 1024
_TOLD_LIMIT = 2 * 1024
_EXIT_RANGE = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """How much of a try is kept.

    Attributes:
        output: bytes of standard output and of standard error, each.
        data: bytes of job data, as JSON.
    """

    output: int = OUTPUT_LIMIT
    data: int = DATA_LIMIT


def returned(
    value: object, data: dict[str, Value], *, stopped: bool, limits: OutputLimits
) -> TryEnd:
    """The end of a try whose `run` returned `value` and left `data`.

    A state that a job cannot be in, or STOPPED when nobody stopped it, is a failure. So is
    a value that cannot even be looked at.
    """
    try:
        return _returned(value, data, stopped=stopped, limits=limits)
    except Exception as error:  # noqa: BLE001 - what the value's own methods do is the job's code
        return failed(f"run returned what cannot be read: {type(error).__name__}: {_said(error)}")


def raised(error: BaseException, limits: OutputLimits) -> TryEnd:
    """The end of a try whose `run` raised."""
    if isinstance(error, JobError):
        return failed(_said(error))
    trace = "".join(traceback.format_exception(error))
    return failed(
        f"panic from job.Run: {type(error).__name__}: {_said(error)}", stderr=_text(trace, limits)
    )


def told(text: object) -> str:
    """What a job says of itself, as it can be shown to others."""
    return _kept(_said(text), _TOLD_LIMIT)


def _returned(
    value: object, data: dict[str, Value], *, stopped: bool, limits: OutputLimits
) -> TryEnd:
    if not isinstance(value, Return):
        return failed(f"run returned {_shown(value)}, which is not a Return")
    state, error = value.state, _said(value.error)
    if state not in (State.COMPLETE, State.FAIL, State.STOPPED):
        error = _also(f"run returned the impossible state {_shown_state(state)}", error)
        state = State.FAIL
    elif state == State.STOPPED and not stopped:
        error = _also("run returned STOPPED, but nobody had stopped the job", error)
        state = State.FAIL
    exit_code = _exit(value.exit)
    if exit_code is None:
        error = _also(f"run returned the impossible exit code {_shown(value.exit)}", error)
        state, exit_code = State.FAIL, 1
    left: dict[str, Value] = {}
    if state == State.COMPLETE:
        try:
            left = own_copy(data, limits.data)
        except UnfitJobData as unfit:
            state, error = State.FAIL, _also(str(unfit), error)
    return TryEnd(
        state=State(state),
        exit=exit_code,
        error=_kept(error, _ERROR_LIMIT),
        stdout=_text(value.stdout, limits),
        stderr=_text(value.stderr, limits),
        data=left,
        do_not_resume=bool(value.do_not_resume) and state == State.FAIL,
    )


def failed(error: str, *, stderr: str = "", ignored_stop: bool = False) -> TryEnd:
    """The end of a try that failed without a Return."""
    return TryEnd(
        state=State.FAIL,
        exit=1,
        error=_kept(error, _ERROR_LIMIT),
        stderr=stderr,
        ignored_stop=ignored_stop,
    )


def _text(value: object, limits: OutputLimits) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else _said(value)
    return _kept(text, limits.output)


def _kept(text: str, limit: int) -> str:
    """`text` as it can be stored: valid Unicode, no NUL, and not longer than the limit."""
    if not text:
        return ""
    text = bounded_text(text, limit)
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    return text.replace("\0", "\ufffd")


def _exit(value: object) -> int | None:
    return int(value) if isinstance(value, int) and value in _EXIT_RANGE else None


def _said(error: object) -> str:
    try:
        return str(error) if error else ""
    except Exception:  # noqa: BLE001 - a job's object; that it has no text is all there is to say
        return f"({type(error).__name__} without a text)"


def _also(first: str, then: str) -> str:
    return f"{first}: {then}" if then else first


def _shown(value: object) -> str:
    return f"{str(value)[:100]!r} ({type(value).__name__})"


def _shown_state(state: object) -> str:
    try:
        return f"{State(state).name} ({int(State(state))})"  # type: ignore[arg-type] # any object
    except ValueError:
        return _shown(state)
