"""The processes that descend from this one, by the process table of Linux."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from spincycle.runtime.loop_monitor import EXIT_LOOP_BLOCKED

PROCESSES = Path("/proc")


def kill_descendants() -> None:
    """Send SIGKILL to every process that this process, or one of those, has started.

    A process whose parent has ended is not found: it has become a child of another process.
    """
    children: dict[int, list[int]] = {}
    for entry in PROCESSES.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                status = (entry / "stat").read_text(errors="replace")
                # The program's name, in parentheses, may contain anything.
                parent = int(status.rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [os.getpid()]
    for process in found:
        found += children.get(process, [])
    for process in found[1:]:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def exit_with_descendants() -> None:
    """End this process, whose event loop is blocked, with what its jobs have started."""
    try:
        kill_descendants()
    finally:
        os._exit(EXIT_LOOP_BLOCKED)
