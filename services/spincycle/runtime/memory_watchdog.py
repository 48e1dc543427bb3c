"""Ends a process that lives and cannot work for want of memory, so that it is started again.

One MemoryError means little: a caller asked for too much, and the others go on. A process under a
limit that it has reached is another thing: whatever it does fails, also what would report that. So
a thread of its own, which needs hardly any memory, looks whether there is some.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

PROBE_BYTES = 16 * 1024 * 1024
"""Bytes that must be there: a few of the largest messages of callers."""

LOOK_EVERY = 5.0
"""Seconds between two looks while nothing has failed."""

LOOK_AGAIN_AFTER = 0.5
"""Seconds between two looks while memory is short."""

MOST_LOOKS = 10
"""Looks in a row without memory after which the process ends."""

MOST_FAILURES = 3
"""Failures of work in the background, for want of memory, after which the process ends."""

FAILURES_WITHIN = 10.0
"""Seconds within which they count together."""

LAST_WORDS = 10.0
"""Seconds that the orderly end may take."""

EXIT_OUT_OF_MEMORY = 3
"""Exit code of a process that ended for want of memory."""

_MESSAGE = (
    b'{"event": "out of memory", "level": "error", "problem": "the process cannot get more memory'
    b' and ends, to be started again; raise its limit if it happens again"}\n'
)


class MemoryProbe:
    """Finds out whether a process can get memory from the system, or has some that is free.

    What is free is free for one thread only, so that of the event loop is asked for it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answered = threading.Event()
        self._is_free = False

    def __call__(self) -> bool:
        """Whether there are PROBE_BYTES."""
        with suppress(OSError):
            # The system only reserves it; nothing is touched.
            mmap.mmap(-1, PROBE_BYTES).close()
            return True
        self._is_free = False
        self._answered.clear()
        self._loop.call_soon_threadsafe(self._allocate)
        self._answered.wait(LOOK_AGAIN_AFTER)
        return self._is_free

    def _allocate(self) -> None:
        with suppress(MemoryError):
            bytearray(PROBE_BYTES)
            self._is_free = True
        self._answered.set()


class MemoryWatchdog:
    """Decides whether a process has so little memory that only a new beginning can help.

    Args:
        end: begins the orderly end of the process. It may fail.
        probe: whether there is memory.
        leave: ends the process at once.

    Attributes:
        has_ended: whether it began the end.
    """

    def __init__(
        self,
        end: Callable[[], object],
        probe: Callable[[], bool],
        leave: Callable[[int], object] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._end = end
        self._probe = probe
        self._leave = leave
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=MOST_FAILURES)
        self._looks = 0
        self._told = threading.Event()
        self.has_ended = False

    def failed(self) -> None:
        """Note that work in the background failed for want of memory.

        What one caller asked for does not count: it may ask again and again.
        """
        self._failures.append(self._clock())
        self._told.set()

    def must_end(self) -> bool:
        """Look once, and return whether the process must end."""
        self._looks = 0 if self._probe() else self._looks + 1
        failures = self._failures
        often = len(failures) == MOST_FAILURES and failures[-1] - failures[0] <= FAILURES_WITHIN
        return often or self._looks >= MOST_LOOKS

    def start(self) -> None:
        """Look from now on, on a thread, and note what fails elsewhere than in a task."""
        sys.unraisablehook = self._noting(sys.unraisablehook)
        threading.excepthook = self._noting(threading.excepthook)
        threading.Thread(target=self._watch, name="memory-watchdog", daemon=True).start()

    def _noting(self, hook: Callable[[Any], object]) -> Callable[[Any], object]:
        def note(failure: Any) -> None:
            if failure.exc_type is not None and issubclass(failure.exc_type, MemoryError):
                with suppress(MemoryError):
                    self.failed()
            hook(failure)

        return note

    def _watch(self) -> None:
        while True:
            try:
                self._told.wait(LOOK_AGAIN_AFTER if self._looks else LOOK_EVERY)
                self._told.clear()
                if self.must_end():
                    break
            except (MemoryError, RuntimeError):
                # No memory to look, or the event loop has ended.
                self._looks += 1
        self.has_ended = True
        # Not by the logs, which need memory.
        os.write(2, _MESSAGE)
        try:
            self._end()
            time.sleep(LAST_WORDS)
        finally:
            self._leave(EXIT_OUT_OF_MEMORY)
