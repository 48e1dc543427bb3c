"""Threads for jobs that block: so many at once, the rest in line."""

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
    """Runs blocking work on daemon threads, so that one that hangs cannot hold the process.

    A thread whose job was given up keeps its place until it ends: however many jobs hang,
    there are never more threads than `limit`.
    """

    def __init__(
        self, limit: int | None = 64, may_begin: Callable[[], bool] = lambda: True
    ) -> None:
        self._places = FairSlots(limit, may_begin)

    @property
    def taken(self) -> int:
        """Threads at work."""
        return self._places.taken

    def run(
        self,
        owner: str,
        key: str,
        work: Callable[[], object],
        begun: Callable[[], None],
        done: Done,
    ) -> None:
        """Have `work` called on a thread once there is one; `begun` and `done` on the loop."""

        def give_back_and_tell(value: object, error: BaseException | None) -> None:
            self._places.give_back()
            done(value, error)

        def begin() -> None:
            begun()
            self.call(work, give_back_and_tell)

        self._places.ask(owner, key, begin)

    def serve(self) -> None:
        """Let work in line begin, if it may again."""
        self._places.serve()

    def withdraw(self, owner: str, key: str) -> bool:
        """Take work out of the line; False if it is not waiting there."""
        return self._places.withdraw(owner, key)

    def call(self, work: Callable[[], object], done: Done) -> None:
        """Have `work` called on a thread at once, whatever the limit."""
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()

        def body() -> None:
            value: object = None
            problem: BaseException | None = None
            try:
                value = context.run(work)
            except BaseException as error:  # noqa: BLE001 - the job's code; all of it is told
                problem = error
            with suppress(RuntimeError):  # The loop has ended, and nobody wants to know.
                loop.call_soon_threadsafe(done, value, problem)

        try:
            threading.Thread(target=body, daemon=True, name="spincycle-job").start()
        except RuntimeError as error:
            loop.call_soon(done, None, error)
