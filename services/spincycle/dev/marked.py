"""Processes that belong to one stack, found by a mark that each hands on to its children.

A job may start a process that is meant to outlive it, or its runner. When the stack ends,
those are to end too, whoever their parent is by then.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

MARK = "SPINCYCLE_DEV_HOME"
"""Environment variable that every process of a stack has: the stack's directory."""

_DATABASE = [(signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)]


def find_marked(home: Path) -> list[int]:
    """The processes of the stack in `home`, its supervisor and keeper excepted."""
    mark = f"{MARK}={home}".encode()
    return [pid for pid in _processes() if mark in _read(pid, "environ").split(b"\0")]


def end_marked(home: Path, patience: float) -> None:
    """End the processes of the stack in `home`, the database last; blocks.

    Each is asked to end (SIGTERM), and killed after `patience` seconds. Those that they
    start meanwhile are ended as well.

    Raises:
        TimeoutError: a process cannot be killed.
    """
    end = [(signal.SIGTERM, patience), (signal.SIGKILL, 5.0)]
    _end(lambda: [pid for pid in find_marked(home) if not _is_database(pid)], end)
    _end(lambda: _without_children([p for p in find_marked(home) if _is_database(p)]), _DATABASE)


def _end(find: Callable[[], list[int]], signals: Sequence[tuple[int, float]]) -> None:
    for number, patience in signals:
        deadline = time.monotonic() + patience
        told: set[int] = set()
        while pids := find():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for pid in set(pids) - told:
                _send(pid, number)
            told.update(pids)
            _wait_for_any(pids, left)
        else:
            return
    raise TimeoutError(f"processes {', '.join(map(str, find()))} do not end")


def _wait_for_any(pids: Iterable[int], seconds: float) -> None:
    watches = []
    ended = select.poll()
    for pid in pids:
        try:
            watches.append(os.pidfd_open(pid))
        except ProcessLookupError:
            seconds = 0
        else:
            ended.register(watches[-1], select.POLLIN)
    try:
        # Wakes early to find those that were started meanwhile.
        ended.poll(1000 * min(seconds, 0.2))
    finally:
        for watch in watches:
            os.close(watch)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        # It has ended, or it is another user's.
        return b""


def _is_database(pid: int) -> bool:
    return _read(pid, "comm").strip() == b"postgres"


def _without_children(pids: list[int]) -> list[int]:
    return [pid for pid in pids if _parent(pid) not in pids]


def _parent(pid: int) -> int:
    after_name = _read(pid, "stat").rpartition(b")")[2].split()
    return int(after_name[1]) if after_name else 0
