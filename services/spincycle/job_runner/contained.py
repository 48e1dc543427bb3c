"""Tasks that cannot end the process that they run in."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class TaskExited(Exception):
    """A task asked for the end of the process. The job that began it does not decide that."""


def contained_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    **named: Any,
) -> asyncio.Task[Any]:
    """A task factory for a loop on which jobs run.

    The event loop ends itself on a SystemExit that leaves a task, and with it every other
    chain; on the next runner the job would do so again.
    """
    assert isinstance(work, Coroutine)
    return asyncio.Task(_contained(work), loop=loop, **named)


async def _contained(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise TaskExited(f"{type(error).__name__}: {error}") from error
