"""What processes take: CPU seconds and memory, by name, their children included."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MB = 2**20
_GONE = (OSError, ValueError, IndexError)


class Usage:
    """Figures of some process trees over a stretch of time.

    Memory of one process is what it holds resident. Of a tree it is the proportional share,
    since PostgreSQL's processes share theirs.
    """

    def __init__(self, pids: Mapping[str, int], interval: float = 0.25) -> None:
        self._pids = dict(pids)
        self._interval = interval
        self._began: dict[str, float] = {}
        self._watching: asyncio.Task[None] | None = None
        self.peak_mb: dict[str, float] = dict.fromkeys(pids, 0.0)
        self.cpu_s: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        """Begin."""
        self._began = self._cpu()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End; `cpu_s` and `peak_mb` hold from now on."""
        assert self._watching is not None
        ended = self._cpu()
        self._watching.cancel()
        with suppress(asyncio.CancelledError):
            await self._watching
        self._look()
        self.cpu_s = {name: ended[name] - self._began[name] for name in self._pids}

    @property
    def cpu_total(self) -> float:
        """CPU seconds of all."""
        return sum(self.cpu_s.values())

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(self._interval)

    def _look(self) -> None:
        for name, pid in self._pids.items():
            self.peak_mb[name] = max(self.peak_mb[name], memory_mb(pid))

    def _cpu(self) -> dict[str, float]:
        children = _children()
        return {
            name: sum(_cpu_of(one) for one in _tree(pid, children))
            for name, pid in self._pids.items()
        }


def memory_mb(pid: int) -> float:
    """Memory of a process, or the proportional share of a tree, in MB."""
    tree = list(_tree(pid, _children()))
    if len(tree) == 1:
        with suppress(*_GONE):
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / _MB
        return 0.0
    return sum(_proportional(one) for one in tree)


def proportional_mb(pid: int) -> float:
    """Memory of one process, what it shares with others counted in part."""
    return _proportional(pid)


def _proportional(pid: int) -> float:
    with suppress(*_GONE):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _cpu_of(pid: int) -> float:
    with suppress(*_GONE):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # User and system time, of the process and of its children that have ended.
        return sum(int(field) for field in fields[11:15]) / _TICK
    return 0.0


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 # names are all that is wanted
        if name.isdigit():
            with suppress(*_GONE):
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(name))
    return children


def _tree(pid: int, children: Mapping[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, ()):
        yield from _tree(child, children)
