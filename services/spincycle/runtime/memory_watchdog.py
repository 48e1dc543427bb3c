"""Ends a process that cannot allocate memory, so that its supervisor restarts it.

A single MemoryError is harmless: one call needed too much, and other calls succeed. In a process
that has reached its memory limit, everything fails, including error reporting. So a dedicated
thread, which needs hardly any memory, probes whether memory can be allocated.
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
"""Bytes that a probe allocates: a few of the largest request messages."""

PROBE_INTERVAL = 5.0
"""Seconds between two probes while memory is available."""

SHORTAGE_PROBE_INTERVAL = 0.5
"""Seconds between two probes while memory is short."""

MAX_FAILED_PROBES = 10
"""Consecutive failed probes after which the process ends."""

MAX_FAILURES = 3
"""Memory failures of background work within FAILURE_WINDOW after which the process ends."""

FAILURE_WINDOW = 10.0
"""Seconds over which memory failures of background work are counted."""

SHUTDOWN_TIMEOUT = 10.0
"""Seconds that the orderly shutdown may take."""

EXIT_OUT_OF_MEMORY = 3
"""Exit code of a process that ended because it ran out of memory."""

_MESSAGE = (
    b'{"event": "out of memory", "level": "error", "problem": "the process cannot allocate memory'
    b' and exits, to be restarted; raise its memory limit if this happens again"}\n'
)


class MemoryProbe:
    """Checks whether a process can map memory, or has free memory in its heap.

    Free heap memory belongs to a thread's arena, so the event loop's thread allocates from it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._finished = threading.Event()
        self._is_free = False

    def __call__(self) -> bool:
        """Return whether PROBE_BYTES can be allocated."""
        with suppress(OSError):
            # The system only reserves the pages; none is touched.
            mmap.mmap(-1, PROBE_BYTES).close()
            return True
        self._is_free = False
        self._finished.clear()
        self._loop.call_soon_threadsafe(self._allocate)
        self._finished.wait(SHORTAGE_PROBE_INTERVAL)
        return self._is_free

    def _allocate(self) -> None:
        with suppress(MemoryError):
            bytearray(PROBE_BYTES)
            self._is_free = True
        self._finished.set()


class MemoryWatchdog:
    """Shuts a process down when it has too little memory to continue.

    Args:
        shut_down: starts the orderly shutdown of the process; may fail.
        probe: returns whether memory is available.
        exit_process: ends the process immediately.

    Attributes:
        triggered: whether the watchdog has started the shutdown.
    """

    def __init__(
        self,
        shut_down: Callable[[], object],
        probe: Callable[[], bool],
        exit_process: Callable[[int], object] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shut_down = shut_down
        self._probe = probe
        self._exit_process = exit_process
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=MAX_FAILURES)
        self._failed_probes = 0
        self._failure_recorded = threading.Event()
        self.triggered = False

    def record_failure(self) -> None:
        """Record that background work failed with a MemoryError.

        Failures of calls are not recorded: a caller may repeat a call that is too large.
        """
        self._failures.append(self._clock())
        self._failure_recorded.set()

    def must_end(self) -> bool:
        """Probe once, and return whether the process must end."""
        self._failed_probes = 0 if self._probe() else self._failed_probes + 1
        failures = self._failures
        often = len(failures) == MAX_FAILURES and failures[-1] - failures[0] <= FAILURE_WINDOW
        return often or self._failed_probes >= MAX_FAILED_PROBES

    def start(self) -> None:
        """Start the probing thread, and record MemoryErrors in threads and finalizers."""
        sys.unraisablehook = self._recording(sys.unraisablehook)
        threading.excepthook = self._recording(threading.excepthook)
        threading.Thread(target=self._watch, name="memory-watchdog", daemon=True).start()

    def _recording(self, hook: Callable[[Any], object]) -> Callable[[Any], object]:
        def record(failure: Any) -> None:
            if failure.exc_type is not None and issubclass(failure.exc_type, MemoryError):
                with suppress(MemoryError):
                    self.record_failure()
            hook(failure)

        return record

    def _watch(self) -> None:
        while True:
            try:
                self._failure_recorded.wait(
                    SHORTAGE_PROBE_INTERVAL if self._failed_probes else PROBE_INTERVAL
                )
                self._failure_recorded.clear()
                if self.must_end():
                    break
            except (MemoryError, RuntimeError):
                # No memory for the probe, or the event loop is closed.
                self._failed_probes += 1
        self.triggered = True
        # Logging needs memory.
        os.write(2, _MESSAGE)
        try:
            self._shut_down()
            time.sleep(SHUTDOWN_TIMEOUT)
        finally:
            self._exit_process(EXIT_OUT_OF_MEMORY)
