"""The tables and blocks of `status`, `info`, `find`, `ps`, `log`, `help` and `explain`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING

from spincycle.cli.render.job_path import NamedJob, job_title, shorten_path
from spincycle.cli.render.table import Column, fits, table
from spincycle.cli.render.text import cell_width, hanging, head, one_line
from spincycle.cli.render.times import clock, clock_and_age, local_nanoseconds, runtime, seconds
from spincycle.cli.values import args_text, plain, shown
from spincycle.model.duration import format_duration
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.v1 import (
        job_log_pb2,
        request_manager_service_pb2,
        request_pb2,
        spec_pb2,
        status_pb2,
    )

_REQUIRED = frozenset({"required"})
_GIVEN = frozenset({"required", "optional"})

FIND = (
    Column("ID", 20, squeezed=True),
    Column("REQUEST", 40, squeezed=True, least=8),
    Column("USER", 16, squeezed=True, least=4),
    Column("STATE", 9, squeezed=True),
    Column("CREATED", 23),
    Column("STARTED", 23),
    Column("FINISHED", 23),
    Column("JOBS"),
)

FIND_NARROW = (
    Column("ID", 20, squeezed=True),
    Column("REQUEST", 40, squeezed=True, least=8),
    Column("USER", 16, squeezed=True, least=4),
    Column("STATE", 9, squeezed=True),
    Column("CREATED", 14),
    Column("JOBS"),
)
"""Columns of `find` on a terminal too narrow for FIND."""

FIND_SMALL = (
    Column("ID", 20),
    Column("REQUEST", 40, squeezed=True, least=8),
    Column("STATE"),
)
"""Columns of `find` on a terminal too narrow for FIND_NARROW."""

PS = (
    Column("REQUEST", 20, squeezed=True, least=8),
    Column("ID", 20),
    Column("PRG", 4, right=True, gap=2),
    Column("USER", 9, squeezed=True, least=4),
    Column("RUNTIME", 8, least=7),
    Column("TRY", 3, right=True),
    Column("JOB", 22, squeezed=True, least=10, shorten=shorten_path),
    Column("STATUS"),
)

PS_NARROW = (
    Column("ID", 20),
    Column("PRG", 4, right=True),
    Column("RUNTIME", 8, least=7),
    Column("TRY", 3, right=True),
    Column("JOB", 22, squeezed=True, least=10, shorten=shorten_path),
    Column("STATUS"),
)
"""Columns of `ps` on a terminal too narrow for PS."""

PS_SMALL = (
    Column("ID", 20),
    Column("JOB", 22, squeezed=True, least=8, shorten=shorten_path),
    Column("STATUS"),
)
"""Columns of `ps` on a terminal too narrow for PS_NARROW."""

_LABELS = 10
"""Width of the labels of `status` and `info`."""

_LEAST_STATUS = 12
"""Fewest columns of a job's status before `ps` leaves out columns."""

_LONGEST_PATH = 60
"""Most columns of the paths in a table; names of jobs without a path keep the original's width."""


def state_name(number: int) -> str:
    """Return the name of a state; UNKNOWN for an unknown number."""
    try:
        return State(number).name
    except ValueError:
        return State.UNKNOWN.name


def percent(request: request_pb2.Request) -> str:
    """Return the share of complete jobs as `38%`; 0% if the request has no jobs."""
    return f"{100 * request.finished_jobs / max(request.total_jobs, 1):.0f}%"


def status_lines(request: request_pb2.Request, now: float, width: int | None = None) -> list[str]:
    """Return the output of `spinc status`."""
    lines = [
        _labelled("state", state_name(request.state)),
        _labelled("progress", percent(request)),
        _labelled("runtime", runtime(request, now)),
        _labelled("request", request.type),
        _labelled("caller", request.user),
        _labelled("args", args_text(request.args, _REQUIRED)),
    ]
    if request.state_message:
        lines.append(_labelled("reason", one_line(request.state_message)))
    if request.error.message:
        lines.append(_labelled("error", one_line(request.error.message)))
    return _within(lines, width)


def info_lines(request: request_pb2.Request, now: float, width: int | None = None) -> list[str]:
    """Return the output of `spinc info`."""
    lines = [
        _labelled("id", request.id),
        _labelled("request", request.type),
        _labelled("caller", request.user),
        _labelled("created", clock_and_age(seconds(request, "created_at"), now)),
        _labelled("started", clock_and_age(seconds(request, "started_at"), now)),
        _labelled("finished", clock_and_age(seconds(request, "finished_at"), now)),
        _labelled("state", state_name(request.state)),
        _labelled("host", request.runner_address),
        _labelled("jobs", f"{request.total_jobs} ({request.finished_jobs} complete)"),
        _labelled("args", args_text(request.args, _GIVEN)),
    ]
    optional = {
        "priority": str(request.priority) if request.priority else "",
        "rerun of": request.rerun_of_request_id,
        "reason": one_line(request.state_message),
        "error": one_line(request.error.message),
    }
    lines += [_labelled(label, text) for label, text in optional.items() if text]
    return _within(lines, width)


def _within(lines: Iterable[str], width: int | None) -> list[str]:
    return [part for line in lines for part in hanging(line, _LABELS, width)]


def _labelled(label: str, text: str) -> str:
    return f"{label:>{_LABELS - 2}}: {text}"


def find_lines(
    requests: Iterable[request_pb2.Request],
    zone: tzinfo | None = UTC,
    width: int | None = None,
) -> list[str]:
    """Return the output of `spinc find`, with fewer columns on a narrow terminal."""

    def moment(request: request_pb2.Request, field: str) -> str:
        stamp = seconds(request, field)
        return "N/A" if stamp is None else clock(stamp, zone)

    rows = [
        [
            request.id,
            request.type,
            request.user,
            state_name(request.state),
            moment(request, "created_at"),
            moment(request, "started_at"),
            moment(request, "finished_at"),
            f"{request.finished_jobs} / {request.total_jobs}",
        ]
        for request in requests
    ]
    if width is None or fits(FIND, rows, width):
        return table(FIND, rows, width)
    brief = [[*row[:4], row[4].partition("-")[2].rpartition(" ")[0], row[7]] for row in rows]
    if fits(FIND_NARROW, brief, width):
        return table(FIND_NARROW, brief, width)
    return table(FIND_SMALL, [[row[0], row[1], row[3]] for row in rows], width)


def ps_lines(status: status_pb2.RunningStatus, now: float, width: int | None = None) -> list[str]:
    """Return the output of `spinc ps`, with fewer columns on a narrow terminal."""
    rows: list[list[str]] = []
    for job in status.jobs:
        request = status.requests.get(job.request_id)
        started = seconds(job, "started_at")
        rows.append(
            [
                request.type if request else "unknown",
                job.request_id,
                percent(request) if request and request.total_jobs else "0",
                request.user if request else "",
                _elapsed(now - started, width) if started is not None else "",
                str(job.try_number),
                job_title(job),
                job.status,
            ]
        )
    for columns, kept in ((PS, range(8)), (PS_NARROW, (1, 2, 4, 5, 6, 7))):
        shown = [[row[place] for place in kept] for row in rows]
        fitting = _with_paths(columns, status.jobs, least=24)
        brief = [[*row[:-1], head(row[-1], _LEAST_STATUS)] for row in shown]
        if width is None or fits(fitting, brief, width):
            return table(fitting, shown, width)
    shown = [[row[1], row[6], row[7]] for row in rows]
    return table(_with_paths(PS_SMALL, status.jobs, least=14), shown, width)


def _with_paths(
    columns: Sequence[Column], jobs: Iterable[NamedJob], least: int
) -> Sequence[Column]:
    """Widen the column JOB for the longest path, and let it shrink to `least` columns only."""
    longest = max((cell_width(job_title(job)) for job in jobs if job.path), default=0)
    if not longest:
        return columns
    return [
        replace(
            column,
            width=max(column.width or 0, min(longest, _LONGEST_PATH)),
            least=max(column.least or 0, min(longest, least)),
        )
        if column.title == "JOB"
        else column
        for column in columns
    ]


def _elapsed(span: float, width: int | None) -> str:
    text = format_duration(span)
    # Hours and minutes fit the column of a terminal; seconds would not.
    return text if width is None or "h" not in text else text.partition("m")[0] + "m"


def entry_lines(entry: job_log_pb2.JobLog, *, with_output: bool = True) -> list[str]:
    """Return one journal entry as `spinc log` prints it, by default with the job's output."""
    started, finished = seconds(entry, "started_at"), seconds(entry, "finished_at")
    elapsed = (finished - started) if started is not None and finished is not None else 0.0
    pairs = {"job path": one_line(entry.path)} if entry.path else {}
    pairs |= {
        "job id": entry.job_id,
        "job name": entry.name,
        "job type": entry.type,
        "state": state_name(entry.state),
        "exit": str(entry.exit),
        "error": entry.error,
        "try": str(entry.try_number),
        "runtime": f"{elapsed:.6f}s",
        "started": local_nanoseconds(entry.started_at) if started is not None else "N/A",
        "finished": local_nanoseconds(entry.finished_at) if finished is not None else "N/A",
    }
    if with_output:
        pairs |= {"stdout": entry.stdout, "stderr": entry.stderr}
    return [f"{label + ':':<10}{text}" for label, text in pairs.items()]


def arg_lines(spec: spec_pb2.RequestSpec, width: int | None = None) -> list[str]:
    """Return the arguments of a request as `spinc help` lists them: one per line if it fits."""
    longest = max((len(arg.name) for arg in spec.args), default=0)
    lines = [_arg_line(arg, longest) for arg in spec.args]
    return [part for line in lines for part in hanging(line, longest + 6, width)]


def _arg_line(arg: request_pb2.RequestArg, longest: int) -> str:
    required = arg.kind == "required"
    kind = f" ({arg.value_type})" if arg.value_type not in {"", "string"} else ""
    default = "" if required else f" (default: {shown(plain(arg.default_value))})"
    return f"  {'*' if required else ' '} {arg.name:<{longest}}  {arg.desc}{kind}{default}"


EXPLAIN = (
    Column("JOB", 22, squeezed=True, least=8, shorten=shorten_path),
    Column("ID", 4),
    Column("WAITS FOR"),
)


def explain_lines(
    explanation: request_manager_service_pb2.ExplainResponse, width: int | None = None
) -> list[str]:
    """Return the output of `spinc explain`."""
    lines = [_labelled("state", state_name(explanation.state))]
    if explanation.message:
        lines.append(_labelled("waits", one_line(explanation.message)))
    rows = [[job_title(job), job.job_id, job.message] for job in explanation.jobs]
    columns = _with_paths(EXPLAIN, explanation.jobs, least=20)
    return [*lines, *([""] if rows else []), *table(columns, rows, width)]
