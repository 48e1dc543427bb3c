"""Marks: lines that jobs append to a file, so that a test knows which tries ran."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

MARKS = "UPGRADE_MARKS"
"""Environment variable with the path of the file."""

GATE = "UPGRADE_GATE"
"""Environment variable that is "open" when jobs must neither hold nor fail on purpose."""

START = "start"
END = "end"
FAIL = "fail"
STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Mark:
    """One step of one try.

    Attributes:
        event: START, END, FAIL or STOPPED.
        step: name of the job, with its host if it has one: `patch:web1`.
    """

    event: str
    request_id: str
    step: str
    try_number: int


def leave_mark(mark: Mark) -> None:
    """Append the mark in one write, so that lines of several processes never mix."""
    file = os.open(os.environ[MARKS], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{json.dumps(asdict(mark))}\n".encode())
    finally:
        os.close(file)


def read_marks(file: Path) -> list[Mark]:
    """Return all marks in the order in which they were left."""
    if not file.exists():
        return []
    return [Mark(**json.loads(line)) for line in file.read_text().splitlines()]


def gate_is_open() -> bool:
    """Whether jobs run to their ends."""
    return os.environ.get(GATE) == "open"
