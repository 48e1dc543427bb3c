from __future__ import annotations

import asyncio

from spincycle.request_manager.requests.given_args import (
    LARGE_ARGS_BYTES,
    MAX_CONCURRENT,
    LargeArgs,
)


async def test_concurrent_requests_with_large_arguments_are_bounded_and_small_ones_never_wait() -> (
    None
):
    large_args, all_small, end = LargeArgs(), asyncio.Event(), asyncio.Event()
    under_way = {"large": 0, "small": 0}

    async def make(kind: str, size: int) -> None:
        async with large_args.slot(size):
            under_way[kind] += 1
            if under_way["small"] == 10:
                all_small.set()
            await end.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(make("large", LARGE_ARGS_BYTES))
        for _ in range(10):
            group.create_task(make("small", LARGE_ARGS_BYTES - 1))
        await all_small.wait()
        assert under_way["large"] == MAX_CONCURRENT
        end.set()
    assert under_way["large"] == 10
