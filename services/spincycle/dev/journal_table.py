"""The journal of a request as a table of all tries, without structural jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spincycle.cli.render.table import Column, table
from spincycle.cli.render.text import cut, one_line
from spincycle.cli.render.times import short_span
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.v1 import job_chain_pb2, job_log_pb2

_COLUMNS = (
    Column("AFTER", 6, right=True),
    Column("TOOK", 6, right=True, gap=2),
    Column("JOB", 16),
    Column("HOST", 6),
    Column("TRY", 3, right=True, gap=2),
    Column("STATE", 8),
    Column("OUTPUT"),
)
_LONGEST_OUTPUT = 60


def journal_table(
    entries: Sequence[job_log_pb2.JobLog], jobs: Mapping[str, job_chain_pb2.Job], width: int | None
) -> list[str]:
    """Return the entries of non-structural jobs as lines, in the given order."""
    shown = [entry for entry in entries if not jobs[entry.job_id].structural]
    if not shown:
        return []
    begin = min(_nanoseconds(entry) for entry in shown)
    rows = [
        [
            short_span((_nanoseconds(entry) - begin) / 1e9),
            short_span((entry.finished_at.ToNanoseconds() - _nanoseconds(entry)) / 1e9),
            entry.name,
            _host(jobs[entry.job_id]),
            str(entry.try_number),
            State(entry.state).name,
            cut(one_line((entry.error or entry.stdout).strip()), _LONGEST_OUTPUT),
        ]
        for entry in shown
    ]
    return table(_COLUMNS, rows, width)


def _nanoseconds(entry: job_log_pb2.JobLog) -> int:
    """Return the start of a try, or its end if it never started."""
    stamp = entry.started_at if entry.HasField("started_at") else entry.finished_at
    return stamp.ToNanoseconds()


def _host(job: job_chain_pb2.Job) -> str:
    return job.args["host"] if "host" in job.args and isinstance(job.args["host"], str) else ""
