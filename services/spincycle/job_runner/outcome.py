"""Converts what a job returned or raised into the end of a try, without the chain's secrets."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.chain.commands import TryEnd
from spincycle.chain.job_data import DATA_LIMIT, InvalidJobData, copy_data
from spincycle.job import JobError, Return
from spincycle.job.bounded_output import OUTPUT_LIMIT, BoundedOutput, bounded_text
from spincycle.job.try_output import STDERR
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.job.try_output import TryOutput
    from spincycle.model.job_chain import Value
    from spincycle.model.scrubber import Scrubber

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
    value: object,
    data: dict[str, Value],
    *,
    stopped: bool,
    limits: OutputLimits,
    scrubber: Scrubber | None = None,
) -> TryEnd:
    """Return the end of a try whose `run` returned `value` and left `data`.

    An invalid state, STOPPED without a stop, and a value whose attributes raise are failures.
    `scrubber` removes the chain's secrets from all texts and data, here and below; None if the
    chain has none.
    """
    try:
        return _returned(value, data, stopped=stopped, limits=limits, scrubber=scrubber)
    except Exception as error:  # noqa: BLE001 - the value's methods are job code
        cause = f"{type(error).__name__}: {_text_of(error)}"
        return failed(f"run returned an unreadable value: {cause}", scrubber=scrubber)


def raised(error: BaseException, output: TryOutput, scrubber: Scrubber | None = None) -> TryEnd:
    """Return the end of a try whose `run` raised, and print the traceback."""
    if isinstance(error, JobError):
        return failed(_text_of(error), scrubber=scrubber)
    output.write_lines(STDERR, "".join(traceback.format_exception(error)))
    cause = f"{type(error).__name__}: {_text_of(error)}"
    return failed(f"panic from job.Run: {cause}", scrubber=scrubber)


def add_printed(end: TryEnd, stdout: str, stderr: str, limits: OutputLimits) -> None:
    """Set the streams that the end leaves empty to what the try printed, which has no secrets."""
    end.stdout = end.stdout or _text(stdout, limits, None)
    end.stderr = end.stderr or _text(stderr, limits, None)


def display_text(text: object, scrubber: Scrubber | None = None) -> str:
    """Return a job's status text, made valid and bounded for display."""
    return _storable(_text_of(text), _STATUS_LIMIT, scrubber)


def _returned(
    value: object,
    data: dict[str, Value],
    *,
    stopped: bool,
    limits: OutputLimits,
    scrubber: Scrubber | None,
) -> TryEnd:
    if not isinstance(value, Return):
        shown = _repr_of(value, scrubber)
        return failed(f"run returned {shown}, which is not a Return", scrubber=scrubber)
    state, error = value.state, _text_of(value.error)
    if state not in (State.COMPLETE, State.FAIL, State.STOPPED):
        error = _joined(f"run returned invalid state {_state_name(state, scrubber)}", error)
        state = State.FAIL
    elif state == State.STOPPED and not stopped:
        error = _joined("run returned STOPPED, but the job was not stopped", error)
        state = State.FAIL
    exit_code = _exit_code(value.exit)
    if exit_code is None:
        shown = _repr_of(value.exit, scrubber)
        error = _joined(f"run returned invalid exit code {shown}", error)
        state, exit_code = State.FAIL, 1
    kept_data: dict[str, Value] = {}
    if state == State.COMPLETE:
        try:
            copied = copy_data(data, limits.data)
            if copied and scrubber is not None:
                copied = copy_data(scrubber.data(copied), limits.data)
            kept_data = copied
        except InvalidJobData as invalid:
            state, error = State.FAIL, _joined(str(invalid), error)
    return TryEnd(
        state=State(state),
        exit=exit_code,
        error=_storable(error, _ERROR_LIMIT, scrubber),
        stdout=_text(value.stdout, limits, scrubber),
        stderr=_text(value.stderr, limits, scrubber),
        data=kept_data,
        do_not_resume=bool(value.do_not_resume) and state == State.FAIL,
    )


def failed(error: str, *, ignored_stop: bool = False, scrubber: Scrubber | None = None) -> TryEnd:
    """Return the end of a try that failed without a Return."""
    return TryEnd(
        state=State.FAIL,
        exit=1,
        error=_storable(error, _ERROR_LIMIT, scrubber),
        ignored_stop=ignored_stop,
    )


def _text(value: object, limits: OutputLimits, scrubber: Scrubber | None) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else _text_of(value)
    return _storable(text, limits.output, scrubber)


def _storable(text: str, limit: int, scrubber: Scrubber | None = None) -> str:
    """Return `text` as valid Unicode without NUL and secrets, at most `limit` bytes long."""
    if not text:
        return ""
    text = bounded_text(text, limit) if scrubber is None else _scrubbed(text, limit, scrubber)
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    return text.replace("\0", "\ufffd")


def _scrubbed(text: str, limit: int, scrubber: Scrubber) -> str:
    """Return the head and tail of `text` without secrets: those are removed before it is cut."""
    if len(text) <= 4 * limit:
        return bounded_text(scrubber.text(text), limit)
    output = BoundedOutput(limit)
    output.write(scrubber.head(text[: 2 * limit]))
    output.skip(len(text) - 4 * limit, exact=False)
    output.write(scrubber.tail(text[-2 * limit :]))
    return output.text()


def _exit_code(value: object) -> int | None:
    return int(value) if isinstance(value, int) and value in _EXIT_RANGE else None


def _text_of(error: object) -> str:
    try:
        return str(error) if error else ""
    except Exception:  # noqa: BLE001 - job code
        return f"({type(error).__name__} without text)"


def _joined(first: str, then: str) -> str:
    return f"{first}: {then}" if then else first


def _repr_of(value: object, scrubber: Scrubber | None) -> str:
    return f"{_storable(str(value), _STATUS_LIMIT, scrubber)[:100]!r} ({type(value).__name__})"


def _state_name(state: object, scrubber: Scrubber | None) -> str:
    try:
        return f"{State(state).name} ({int(State(state))})"  # type: ignore[arg-type] # any object
    except ValueError:
        return _repr_of(state, scrubber)
