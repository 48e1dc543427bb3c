"""Work that takes long for some inputs, done where it does not hold up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LARGE_BYTES = 32 * 1024
"""Bytes of values from which reading or writing them is done in a thread: a value may have 4
bytes and take a microsecond."""

LARGE_CHAIN_BYTES = 1024 * 1024
"""Bytes of a chain from which decoding and encoding it once is done in a thread."""


async def off_loop(is_large: bool, work: Callable[[], T]) -> T:
    """Return what `work` returns; if it is large, it runs in a thread.

    Whoever calls must not change what `work` reads until it returns.
    """
    return await asyncio.to_thread(work) if is_large else work()
