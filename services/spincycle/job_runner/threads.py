"""Thread pool for blocking jobs: a limited number of threads, served fairly."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from spincycle.job_runner.fair_slots import FairSlots

if TYPE_CHECKING:
    from collections.abc import Callable

    Done: TypeAlias = Callable[[object, BaseException | None], None]


class Threads:
    """Runs blocking work on daemon threads, which cannot keep the process alive.

    The thread of an abandoned job keeps its slot until it ends: however many jobs hang, at most
    `limit` threads run jobs.
    """

    def __init__(
        self, limit: int | None = 64, may_start: Callable[[], bool] = lambda: True
    ) -> None:
        self._slots = FairSlots(limit, may_start)

    @property
    def in_use(self) -> int:
        """Number of threads in use."""
        return self._slots.in_use

    def run(
        self,
        owner: str,
        key: str,
        work: Callable[[], object],
        on_started: Callable[[], None],
        on_done: Done,
    ) -> None:
        """Call `work` on a thread once one is free; both callbacks are called on the event loop."""

        def release_and_report(value: object, error: BaseException | None) -> None:
            self._slots.release()
            on_done(value, error)

        def start() -> None:
            on_started()
            self.start_now(work, release_and_report)

        self._slots.acquire(owner, key, start)

    def dispatch(self) -> None:
        """Start waiting work if it may start again."""
        self._slots.dispatch()

    def withdraw(self, owner: str, key: str) -> bool:
        """Remove waiting work from the queue; return False if it does not wait."""
        return self._slots.withdraw(owner, key)

    def start_now(self, work: Callable[[], object], on_done: Done) -> None:
        """Call `work` on a new thread immediately, regardless of the limit."""
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()

        def body() -> None:
            value: object = None
            failure: BaseException | None = None
            try:
                value = context.run(work)
            except BaseException as error:  # noqa: BLE001 - job code; every error is reported
                failure = error
            with suppress(RuntimeError):  # The loop is closed: nothing needs the result.
                loop.call_soon_threadsafe(on_done, value, failure)

        try:
            threading.Thread(target=body, daemon=True, name="spincycle-job").start()
        except RuntimeError as error:
            loop.call_soon(on_done, None, error)
