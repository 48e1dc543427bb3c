"""Task factory whose tasks cannot end the process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class TaskExited(Exception):
    """A task raised SystemExit or KeyboardInterrupt, which ends only that task."""


def isolated_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    **options: Any,
) -> asyncio.Task[Any]:
    """Create a task that raises TaskExited where its coroutine raises SystemExit.

    By default a SystemExit that leaves a task ends the event loop and with it every chain of
    the runner; after recovery the same job would end the next runner too.
    """
    assert isinstance(work, Coroutine)
    return asyncio.Task(_isolated(work), loop=loop, **options)


async def _isolated(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise TaskExited(f"{type(error).__name__}: {error}") from error
