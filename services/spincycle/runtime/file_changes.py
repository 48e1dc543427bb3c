"""Follows the changes of a file that a process uses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from spincycle.runtime.config import ConfigError


async def follow_changes(
    name: str,
    read: Callable[[], bytes],
    contents: bytes,
    use: Callable[[bytes], Awaitable[None]],
    interval: float,
) -> None:
    """Read a file at every interval, and use its contents when they have changed, until cancelled.

    What was in use stays so while the file is missing or invalid; each problem is logged once.

    Args:
        name: what the file holds, for the log, for example "grant keys".
        read: returns the contents, on another thread; raises ConfigError.
        contents: the contents in use.
        use: uses new contents; raises ConfigError if they are invalid.
        interval: seconds.
    """
    problem = ""
    while True:
        await asyncio.sleep(interval)
        try:
            current = await asyncio.to_thread(read)
            if current != contents:
                await use(current)
                contents = current
        except ConfigError as error:
            if str(error) != problem:
                problem = str(error)
                structlog.get_logger().error(f"{name} not reloaded", problem=problem)
        else:
            problem = ""
