from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from spincycle.cli.transport.merging import merged


async def some(*what: int, then: Exception | None = None) -> AsyncIterator[int]:
    for one in what:
        yield one
    if then:
        raise then


async def test_all_items_are_yielded_before_the_end() -> None:
    many = range(500)

    assert sorted([one async for one in merged(some(*many), some(), some(1000))]) == [*many, 1000]


async def test_a_failure_is_raised_after_the_items_before_it() -> None:
    both = merged(some(1, 2, 3, then=ValueError("broken")), some())

    assert [await anext(both) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="broken"):
        await anext(both)


async def test_closing_the_merged_iterator_closes_the_sources() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with aclosing(merged(endless())) as both:
        async for _ in both:
            break

    assert ended.is_set()
