"""A service on an event loop of its own that knows its longest pause.

A pause is CPU time of the loop's thread between two turns, so that a busy machine counts for
nothing.
"""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Self

from spincycle.runtime.process import GC_THRESHOLD, Shutdown

_COPIES = 5
_COPIED = {str(number): number % 2 == 0 for number in range(100_000)}


def longest_pause() -> float:
    """Return the longest pause that is allowed on this machine now, in seconds.

    It is the time in which the calling thread encodes and decodes 500,000 values as JSON: a third
    of a second where the tests were written.
    """
    began = time.thread_time()
    for _ in range(_COPIES):
        json.loads(json.dumps(_COPIED))
    return time.thread_time() - began


@contextmanager
def collecting_as_in_a_process() -> Iterator[None]:
    """Configure the garbage collector as a service does; ignore what the tests have loaded."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


class MeasuredLoop(asyncio.SelectorEventLoop):
    """An event loop that knows its longest pause, in seconds."""

    longest = 0.0

    def _run_once(self) -> None:
        began = time.thread_time()
        super()._run_once()  # type: ignore[misc] # not in the stubs of asyncio
        self.longest = max(self.longest, time.thread_time() - began)


class Measured:
    """A service on an event loop and a thread of its own."""

    def __init__(self, serve: Callable[[Shutdown], Awaitable[None]]) -> None:
        self._serve = serve
        self._shutdown = Shutdown()
        self.loop = MeasuredLoop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        async def served() -> None:
            await self._serve(self._shutdown)

        with (
            collecting_as_in_a_process(),
            asyncio.Runner(loop_factory=lambda: self.loop) as runner,
        ):
            runner.run(served())

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._shutdown.request)
        await asyncio.to_thread(self._thread.join)

    def pause(self) -> float:
        """The longest pause since the last call."""
        longest, self.loop.longest = self.loop.longest, 0.0
        return longest
