"""Finds and ends the processes of a stack by a mark that they have and that children inherit.

A job can start a process that outlives it and its runner. When the stack ends, such processes
end too, whatever their parent is by then.

The mark is a variable of the environment. Services are not dumpable, so only root can read their
environment and that of their children that execute no program; these have the mark in their
arguments.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

MARK = "SPINCYCLE_DEV_HOME"
"""Environment variable of every process of a stack: the directory of the stack."""

POSTGRES_DSN = "SPINCYCLE_DEV_POSTGRES_DSN"
"""Variable with the DSN of the database that a stack uses instead of an embedded one."""

_PLAIN = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
    *("LD_LIBRARY_PATH", "PYTHONPATH"),
)

_DATABASE = [(signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)]


def plain_environment() -> dict[str, str]:
    """Return the environment of processes that jobs can read: the database and the reaper.

    It has none of the variables of the operator, which may contain secrets.
    """
    return {name: os.environ[name] for name in _PLAIN if name in os.environ}


def find_processes(home: Path) -> list[int]:
    """Return the processes of the stack in `home`, without its supervisor and reaper."""
    variable = os.fsencode(f"{MARK}={home}")
    argument = os.fsencode(stack_argument(home))
    return [
        pid
        for pid in _processes()
        if variable in _read(pid, "environ").split(b"\0")
        or argument in _read(pid, "cmdline").split(b"\0")
    ]


def stack_argument(home: Path | str) -> str:
    """Return the argument that marks a service of the stack in `home`."""
    return f"--stack={home}"


def end_processes(home: Path, patience: float) -> None:
    """End the processes of the stack in `home`, the database last; blocking.

    Each gets SIGTERM, and SIGKILL after `patience` seconds, including processes started
    meanwhile.

    Raises:
        TimeoutError: a process does not end.
    """
    end = [(signal.SIGTERM, patience), (signal.SIGKILL, 5.0)]
    _end(lambda: [pid for pid in find_processes(home) if not _is_database(pid)], end)
    _end(lambda: _without_children([p for p in find_processes(home) if _is_database(p)]), _DATABASE)


def _end(find: Callable[[], list[int]], signals: Sequence[tuple[int, float]]) -> None:
    for number, patience in signals:
        deadline = time.monotonic() + patience
        signalled: set[int] = set()
        while pids := find():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for pid in set(pids) - signalled:
                _send(pid, number)
            signalled.update(pids)
            _wait_for_any(pids, left)
        else:
            return
    raise TimeoutError(f"processes {', '.join(map(str, find()))} did not end")


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
        # Short, to find processes started meanwhile.
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
        # The process has ended, or belongs to another user.
        return b""


def _is_database(pid: int) -> bool:
    return _read(pid, "comm").strip() == b"postgres"


def _without_children(pids: list[int]) -> list[int]:
    return [pid for pid in pids if _parent(pid) not in pids]


def _parent(pid: int) -> int:
    after_name = _read(pid, "stat").rpartition(b")")[2].split()
    return int(after_name[1]) if after_name else 0
