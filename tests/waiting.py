"""Waiting for what comes about in its own time, never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], Awaitable[object]] | Callable[[], object]) -> None:
    """Return when the condition holds."""
    async with asyncio.timeout(30):
        while True:
            holds = condition()
            if isinstance(holds, Awaitable):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.01)
