"""Marks that jobs leave in a file, so that what ran is known whatever the services say."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from spincycle.job import JobId

FILE = "CHAOS_MARKS"
"""Environment variable with the path of the file."""

START = "start"
END = "end"
STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that a job did; `at` is seconds since 1970."""

    event: str
    request_id: str
    job_id: str
    name: str
    pid: int
    at: float


def leave_mark(event: str, job: JobId) -> None:
    """Append a line, in one write, so that lines of many processes never mix."""
    line = f"{event} {job.request_id} {job.id} {job.name} {os.getpid()} {time.time_ns()}\n"
    file = os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def read_marks(file: Path) -> list[Mark]:
    """All marks in order of time."""
    if not file.exists():
        return []
    marks = []
    for line in file.read_text().splitlines():
        event, request_id, job_id, name, pid, at = line.split()
        marks.append(Mark(event, request_id, job_id, name, int(pid), int(at) / 1e9))
    return sorted(marks, key=lambda mark: mark.at)
