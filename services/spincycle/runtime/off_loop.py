"""Runs CPU-bound work on large inputs in a thread, so that it does not block the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LARGE_BYTES = 32 * 1024
"""Bytes of values from which they are decoded or encoded in a thread: a value may have as few as
4 bytes and take a microsecond."""

LARGE_CHAIN_BYTES = 1024 * 1024
"""Bytes of a chain from which it is decoded and encoded in a thread."""


async def off_loop(is_large: bool, work: Callable[[], T]) -> T:  # noqa: FBT001 # reads "if large"
    """Return the result of `work`, which runs in a thread if `is_large`.

    The caller must not change what `work` reads until it returns.
    """
    return await asyncio.to_thread(work) if is_large else work()
