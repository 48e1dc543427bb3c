"""Watches an event loop from a thread: names the code that blocks it, and measures its lag."""

from __future__ import annotations

import asyncio
import contextvars
import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Self

import structlog

from spincycle.runtime.lag_histogram import LagHistogram

TICK = 0.1
"""Seconds between two ticks of the loop."""

BLOCKED_AFTER = 0.25
"""Seconds of lag from which the loop counts as blocked."""

MAX_FRAMES = 40
"""Most frames of a stack that are logged."""

EXIT_LOOP_BLOCKED = 4
"""Exit code of a process that ended because its event loop was blocked for too long."""

DUMP_MARGIN = 5.0
"""Least seconds beyond the limit after which a process ends whose threads cannot run either."""

BUSY_SHARE = 0.1
"""Least share of a CPU that code gets which holds the interpreter lock, also on a busy machine."""

_STDERR = 2
_RUN_ONCE = asyncio.BaseEventLoop._run_once.__code__  # type: ignore[attr-defined] # noqa: SLF001 # no public name
_RUNNERS = frozenset({"asyncio.runners", "uvloop"})
"""Modules of the innermost Python function while uvloop, which is not in Python, runs no other."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """The job on whose behalf a thread runs.

    Attributes:
        key: identifies the job.
        job_type: its type.
        fields: its fields of log lines.
        module: module of its class; the innermost line of this module is the one to name.
        frames: number of innermost frames of the stack that belong to it.
    """

    key: Hashable
    job_type: str
    fields: Mapping[str, str]
    module: str
    frames: int


Attribute = Callable[[FrameType], Attribution | None]
"""Finds the job in a stack, given its innermost frame."""


@dataclass(frozen=True, slots=True)
class BlockLimit:
    """Limit of a block, and how the process ends at the limit.

    Attributes:
        seconds: how long the loop may be blocked.
        exit_process: ends the process; called on the monitor's thread.
    """

    seconds: float
    exit_process: Callable[[], object]

    @property
    def dump_after(self) -> float:
        """Seconds without a tick after which the interpreter ends the process by itself.

        Longer than the limit even if the loop was blocked right after a tick armed it.
        """
        return self.seconds * 1.25 + DUMP_MARGIN


@dataclass(slots=True)
class _Block:
    since: float
    owner: Attribution | None
    fields: dict[str, object] = field(default_factory=dict)

    @property
    def key(self) -> Hashable:
        return self.owner.key if self.owner else None


class LoopMonitor:
    """Watches the running event loop for the duration of an `async with` block.

    The loop ticks by a timer; a thread measures how late the next tick is. Every change of what
    blocks the loop is logged once, and once more at its end.

    A process that the system did not run, since it was frozen or had no CPU, has no blocked loop:
    the time for which the thread could not run either does not count, unless the process used the
    CPU, as code does that holds the interpreter's lock.

    Attributes:
        lags: delays of all ticks.
    """

    def __init__(
        self,
        attribute: Attribute = lambda _: None,
        limit: BlockLimit | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attribute = attribute
        self._limit = limit
        self._clock = clock
        self.lags = LagHistogram()
        # Guards the ticks against the thread, for a few assignments at a time.
        self._lock = threading.Lock()
        self._ticks = 0
        self._due = float("inf")
        self._not_run = 0.0
        self._block: _Block | None = None
        self._former: list[tuple[_Block, float]] = []
        self._next: tuple[Hashable, float] | None = None
        self._last: tuple[Hashable, float] = (None, float("-inf"))
        self._armed_at = float("-inf")
        self._stopped = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop_thread = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._due = self._clock()
        self._tick()
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(self._watch,), name="loop-monitor", daemon=True
        ).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._limit is not None:
            faulthandler.cancel_dump_traceback_later()

    @property
    def lag(self) -> float:
        """Seconds by which the loop is late now; may be read on any thread."""
        return max(0.0, self._clock() - self._due - self._not_run)

    def is_blocked_by(self, key: Hashable) -> bool:
        """Return whether this job blocks the loop, or did until just now."""
        block = self._block
        if block is not None and block.key == key:
            return True
        last, ended_at = self._last
        return last == key and self._clock() - ended_at < BLOCKED_AFTER

    def _tick(self) -> None:
        now = self._clock()
        with self._lock:
            lag = max(0.0, now - self._due)
            block, self._block = self._block, None
            former, self._former = self._former, []
            self._next = None
            self._ticks += 1
            self._due = now + TICK
            self._not_run = 0.0
            if block is not None:
                self._last = (block.key, now)
        if block is None:
            self.lags.observe(lag)
        else:
            for each, ended_at in (*former, (block, now)):
                self._end(each, ended_at)
        self._arm(now)
        self._timer = self._loop.call_later(TICK, self._tick)

    def _end(self, block: _Block, ended_at: float) -> None:
        seconds = ended_at - block.since
        self.lags.observe(seconds, block.owner.job_type if block.owner else "")
        structlog.get_logger().warning(
            "event loop no longer blocked", seconds=round(seconds, 3), **block.fields
        )

    def _arm(self, now: float) -> None:
        """Postpone the end by the interpreter, which needs no lock of the interpreter."""
        limit = self._limit
        if limit is not None and now - self._armed_at >= limit.seconds / 4:
            self._armed_at = now
            faulthandler.dump_traceback_later(limit.dump_after, exit=True, file=_STDERR)

    def _watch(self) -> None:
        wait = BLOCKED_AFTER
        asleep, cpu = self._clock(), time.process_time()
        while not self._stopped.wait(wait):
            now, used = self._clock(), time.process_time()
            overslept = now - asleep - wait
            holds_lock = overslept >= BLOCKED_AFTER and used - cpu >= overslept * BUSY_SHARE
            if overslept >= BLOCKED_AFTER and not holds_lock:
                self._discount(overslept)
            try:
                wait = self._check(holds_lock=holds_lock)
            except Exception:  # noqa: BLE001 # the objects of jobs may raise; the watch must go on
                structlog.get_logger().exception("event loop's blocker not found")
                wait = BLOCKED_AFTER
            asleep, cpu = self._clock(), time.process_time()

    def _discount(self, seconds: float) -> None:
        with self._lock:
            if self._clock() > self._due:
                self._not_run += seconds

    def _check(self, *, holds_lock: bool) -> float:
        """Record what blocks the loop now; return the seconds until the next check."""
        ticks, lag = self._ticks, self.lag
        if lag < BLOCKED_AFTER:
            return max(self._due + self._not_run + BLOCKED_AFTER - self._clock(), TICK / 10)
        if self._limit is not None and lag >= self._limit.seconds:
            self._exit(lag, self._limit)
        frame = self._frame()
        if frame is not None and not _is_waiting(frame):
            self._record(frame, ticks, holds_lock=holds_lock)
        left = self._limit.seconds - lag if self._limit else BLOCKED_AFTER
        return min(BLOCKED_AFTER, max(left, TICK / 10))

    def _record(self, frame: FrameType, ticks: int, *, holds_lock: bool) -> None:
        owner = self._attribute(frame)
        key = owner.key if owner else None
        current, now = self._block, self._clock()
        if current is not None:
            if current.key == key:
                self._next = None
                return
            if self._next is None or self._next[0] != key:
                # Code that runs right after a block is late, but need not block the loop itself.
                self._next = (key, now)
                return
            now = self._next[1]
        line, stack = _stack(frame, owner)
        block = _Block(
            now if current else self._due + self._not_run,
            owner,
            {**(owner.fields if owner else {}), "line": line},
        )
        with self._lock:
            if self._ticks != ticks:
                return
            if current is not None:
                self._former.append((current, now))
            self._block, self._next = block, None
        structlog.get_logger().warning(
            "event loop blocked",
            **block.fields,
            stack=stack,
            **({"holds_interpreter_lock": True} if holds_lock else {}),
        )

    def _frame(self) -> FrameType | None:
        """Return the innermost frame of the loop's thread."""
        return sys._current_frames().get(self._loop_thread)  # noqa: SLF001 # the documented way

    def _exit(self, lag: float, limit: BlockLimit) -> None:
        frame = self._frame()
        fields: dict[str, object] = {}
        with suppress(Exception):
            if frame is not None:
                owner = self._attribute(frame)
                line, stack = _stack(frame, owner)
                fields = {**(owner.fields if owner else {}), "line": line, "stack": stack}
        structlog.get_logger().error(
            "event loop blocked for too long; the process exits, to be restarted",
            seconds=round(lag, 3),
            exit_code=EXIT_LOOP_BLOCKED,
            **fields,
        )
        limit.exit_process()
        self._stopped.set()


def _is_waiting(frame: FrameType) -> bool:
    """Return whether the loop waits for events: the system did not run its thread in time."""
    caller = frame.f_back
    if caller is not None and caller.f_code is _RUN_ONCE:
        return frame.f_globals.get("__name__") == "selectors"
    return frame.f_globals.get("__name__") in _RUNNERS


def _stack(frame: FrameType, owner: Attribution | None) -> tuple[str, str]:
    """Return the line to name, as file:line, and the frames by line, innermost first."""
    limit = min(owner.frames, MAX_FRAMES) if owner else MAX_FRAMES
    line = ""
    stack: list[str] = []
    current: FrameType | None = frame
    while current is not None and len(stack) < limit:
        place = f"{current.f_code.co_filename}:{current.f_lineno}"
        stack.append(f"{place} in {current.f_code.co_qualname}")
        if owner and not line and current.f_globals.get("__name__") == owner.module:
            line = place
        current = current.f_back
    return line or stack[0].partition(" in ")[0], "\n".join(stack)
