"""Memory of a process while something is done to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Growth:
    """By how much the memory of a process grew at the most, in megabytes."""

    megabytes: float = 0.0


@contextmanager
def measured(pid: int) -> Iterator[Growth]:
    """Measure the peak of a process in a `with` block, beyond the memory that it had before."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = _status(pid, "VmRSS:")
    growth = Growth()
    yield growth
    growth.megabytes = _status(pid, "VmHWM:") - before


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} is gone")
