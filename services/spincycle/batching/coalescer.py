"""Batches writes: callers that arrive while one write is in flight share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

from spincycle.runtime import deadline

Item = TypeVar("Item")
Result = TypeVar("Result")

_Waiting = tuple[Item, asyncio.Future[Result], float | None]
"""An item, the future of its result, and the deadline of its caller."""


class Coalescer(Generic[Item, Result]):
    """Combines single calls into batches without a timer: a batch lasts as long as a write.

    `write` gets the items in order of arrival and returns one result per item. An exception in
    place of a result is raised to the caller of that item; an exception raised by `write` is raised
    to all callers of the batch. The deadline of a batch is the latest deadline of its callers.

    Attributes:
        batches: number of written batches.
        items: number of items in these batches.
    """

    def __init__(
        self,
        write: Callable[[list[Item]], Awaitable[Sequence[Result | BaseException]]],
        *,
        max_batch: int = 1000,
        in_flight: int = 1,
    ) -> None:
        self._write = write
        self._max_batch = max_batch
        self._in_flight = in_flight
        self._waiting: list[_Waiting[Item, Result]] = []
        self._writers: set[asyncio.Task[None]] = set()
        self.batches = 0
        self.items = 0

    async def submit(self, item: Item) -> Result:
        """Return the result of `write` for the item.

        If the caller is cancelled before its batch is written, the item is removed.
        """
        return await self.enqueue(item)

    def enqueue(self, item: Item) -> asyncio.Future[Result]:
        """Return a future of the result of `write`; cancelling it removes an unwritten item."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future, deadline.ends_at()))
        if len(self._writers) < self._in_flight:
            writer = asyncio.create_task(self._drain(), context=deadline.without_deadline())
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return future

    async def close(self, grace: float | None = None) -> None:
        """Wait until all submitted items are written.

        After `grace` seconds, the remaining writes and their callers are cancelled.
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
            # Not in the done callback: a caller that arrives before it would rely on this writer.
            self._writers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _write_batch(self, batch: list[_Waiting[Item, Result]]) -> None:
        results: Sequence[Result | BaseException]
        ends = [moment for _, _, moment in batch if moment is not None]
        deadline.set_end(max(ends) if len(ends) == len(batch) else None)
        self.batches += 1
        self.items += len(batch)
        try:
            results = await self._write([item for item, _, _ in batch])
        except asyncio.CancelledError:
            for _, future, _ in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 # raised to the callers
            results = [error] * len(batch)
        if len(results) != len(batch):
            mismatch = RuntimeError(f"{len(batch)} items were written, {len(results)} returned")
            results = [mismatch] * len(batch)
        for (_, future, _), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
