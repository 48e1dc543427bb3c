"""Converts what a job returned or raised into the end of a try."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.chain.commands import TryEnd
from spincycle.chain.job_data import DATA_LIMIT, InvalidJobData, copy_data
from spincycle.job import JobError, Return
from spincycle.job.bounded_output import OUTPUT_LIMIT, bounded_text
from spincycle.job.try_output import STDERR
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.job.try_output import TryOutput
    from spincycle.model.job_chain import Value

_ERROR_LIMIT = 16 * 1024
_STATUS_LIMIT = 2 * 1024
_EXIT_RANGE = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """Size limits of what is stored of a try.

    Attributes:
        output: bytes of standard output and of standard error, each.
        data: bytes of job data, as JSON.
    """

    output: int = OUTPUT_LIMIT
    data: int = DATA_LIMIT


def returned(
    value: object, data: dict[str, Value], *, stopped: bool, limits: OutputLimits
) -> TryEnd:
    """Return the end of a try whose `run` returned `value` and left `data`.

    An invalid state, STOPPED without a stop, and a value whose attributes raise are failures.
    """
    try:
        return _returned(value, data, stopped=stopped, limits=limits)
    except Exception as error:  # noqa: BLE001 - the value's methods are job code
        cause = f"{type(error).__name__}: {_text_of(error)}"
        return failed(f"run returned an unreadable value: {cause}")


def raised(error: BaseException, output: TryOutput) -> TryEnd:
    """Return the end of a try whose `run` raised, and print the traceback."""
    if isinstance(error, JobError):
        return failed(_text_of(error))
    output.write_lines(STDERR, "".join(traceback.format_exception(error)))
    return failed(f"panic from job.Run: {type(error).__name__}: {_text_of(error)}")


def add_printed(end: TryEnd, stdout: str, stderr: str, limits: OutputLimits) -> None:
    """Set the streams that the end leaves empty to what the try printed."""
    end.stdout = end.stdout or _text(stdout, limits)
    end.stderr = end.stderr or _text(stderr, limits)


def display_text(text: object) -> str:
    """Return a job's status text, made valid and bounded for display."""
    return _storable(_text_of(text), _STATUS_LIMIT)


def _returned(
    value: object, data: dict[str, Value], *, stopped: bool, limits: OutputLimits
) -> TryEnd:
    if not isinstance(value, Return):
        return failed(f"run returned {_repr_of(value)}, which is not a Return")
    state, error = value.state, _text_of(value.error)
    if state not in (State.COMPLETE, State.FAIL, State.STOPPED):
        error = _joined(f"run returned invalid state {_state_name(state)}", error)
        state = State.FAIL
    elif state == State.STOPPED and not stopped:
        error = _joined("run returned STOPPED, but the job was not stopped", error)
        state = State.FAIL
    exit_code = _exit_code(value.exit)
    if exit_code is None:
        error = _joined(f"run returned invalid exit code {_repr_of(value.exit)}", error)
        state, exit_code = State.FAIL, 1
    kept_data: dict[str, Value] = {}
    if state == State.COMPLETE:
        try:
            kept_data = copy_data(data, limits.data)
        except InvalidJobData as invalid:
            state, error = State.FAIL, _joined(str(invalid), error)
    return TryEnd(
        state=State(state),
        exit=exit_code,
        error=_storable(error, _ERROR_LIMIT),
        stdout=_text(value.stdout, limits),
        stderr=_text(value.stderr, limits),
        data=kept_data,
        do_not_resume=bool(value.do_not_resume) and state == State.FAIL,
    )


def failed(error: str, *, ignored_stop: bool = False) -> TryEnd:
    """Return the end of a try that failed without a Return."""
    return TryEnd(
        state=State.FAIL,
        exit=1,
        error=_storable(error, _ERROR_LIMIT),
        ignored_stop=ignored_stop,
    )


def _text(value: object, limits: OutputLimits) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else _text_of(value)
    return _storable(text, limits.output)


def _storable(text: str, limit: int) -> str:
    """Return `text` as valid Unicode without NUL, at most `limit` bytes long."""
    if not text:
        return ""
    text = bounded_text(text, limit)
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    return text.replace("\0", "\ufffd")


def _exit_code(value: object) -> int | None:
    return int(value) if isinstance(value, int) and value in _EXIT_RANGE else None


def _text_of(error: object) -> str:
    try:
        return str(error) if error else ""
    except Exception:  # noqa: BLE001 - job code
        return f"({type(error).__name__} without text)"


def _joined(first: str, then: str) -> str:
    return f"{first}: {then}" if then else first


def _repr_of(value: object) -> str:
    return f"{str(value)[:100]!r} ({type(value).__name__})"


def _state_name(state: object) -> str:
    try:
        return f"{State(state).name} ({int(State(state))})"  # type: ignore[arg-type] # any object
    except ValueError:
        return _repr_of(state)
