"""Waiting together: callers that arrive while one write is in flight share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

from spincycle.runtime import deadline

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_Waiting = tuple[Item, asyncio.Future[Answer], float | None]
"""An item, whom its answer is for, and until when."""


class Coalescer(Generic[Item, Answer]):
    """Turns single calls into batches, with no timer: the batch in flight is the timer.

    `write` gets the items in order of arrival and answers one result an item; an exception
    in place of a result is raised to that item's caller, and an exception raised by `write`
    is raised to all of them. Each caller is answered after its own batch only.
    A batch has until the last of its callers must be answered.

    Attributes:
        batches: how many were written.
        items: how many there were in them.
    """

    def __init__(
        self,
        write: Callable[[list[Item]], Awaitable[Sequence[Answer | BaseException]]],
        *,
        max_batch: int = 1000,
        in_flight: int = 1,
    ) -> None:
        self._write = write
        self._max_batch = max_batch
        self._in_flight = in_flight
        self._waiting: list[_Waiting[Item, Answer]] = []
        self._writers: set[asyncio.Task[None]] = set()
        self.batches = 0
        self.items = 0

    async def submit(self, item: Item) -> Answer:
        """Answer what `write` answers for the item.

        A caller that is cancelled before its batch is written takes its item back.
        """
        return await self.enqueue(item)

    def enqueue(self, item: Item) -> asyncio.Future[Answer]:
        """A future of what `write` answers for the item; cancelling it is as with `submit`."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future, deadline.ends_at()))
        if len(self._writers) < self._in_flight:
            writer = asyncio.create_task(self._drain(), context=deadline.without_deadline())
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return future

    async def close(self, grace: float | None = None) -> None:
        """Wait until everything that was submitted is written.

        What is not written within `grace` seconds is given up: its callers are cancelled.
        """
        try:
            async with asyncio.timeout(grace):
                while self._writers:
                    await asyncio.wait(self._writers)
        except TimeoutError:
            for writer in self._writers:
                writer.cancel()
            await asyncio.gather(*self._writers, return_exceptions=True)
            for _, future, _ in self._waiting:
                future.cancel()
            self._waiting.clear()

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch = [entry for entry in self._waiting[: self._max_batch] if not entry[1].done()]
                del self._waiting[: self._max_batch]
                if batch:
                    await self._write_batch(batch)
        finally:
            # Now, and not only when this task is seen to be done: whoever comes in between would
            # rely on a writer that has ended.
            self._writers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _write_batch(self, batch: list[_Waiting[Item, Answer]]) -> None:
        answers: Sequence[Answer | BaseException]
        ends = [moment for _, _, moment in batch if moment is not None]
        deadline.set_end(max(ends) if len(ends) == len(batch) else None)
        self.batches += 1
        self.items += len(batch)
        try:
            answers = await self._write([item for item, _, _ in batch])
        except asyncio.CancelledError:
            for _, future, _ in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is belongs to the callers
            answers = [error] * len(batch)
        if len(answers) != len(batch):
            wrong = RuntimeError(f"{len(batch)} items were written, {len(answers)} answered")
            answers = [wrong] * len(batch)
        for (_, future, _), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
