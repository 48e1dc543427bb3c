"""Waits for processes on any event loop, including uvloop."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Sequence

Process = subprocess.Popen[bytes]


async def until_ended(process: Process) -> int:
    """Wait for the end of a child, reap it, and return its exit code, or -N for signal N.

    Any number of tasks may wait for the same child.
    """
    code = process.poll()
    if code is None:
        await until_gone(process.pid)
        code = process.wait()
    return code


async def until_gone(pid: int) -> None:
    """Wait for the end of any process, not only of a child."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(watch, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(watch)
        os.close(watch)


async def send_until_gone(pid: int, signals: Sequence[tuple[int, float]]) -> None:
    """Send signals until the process ends, waiting the given seconds after each.

    Raises:
        TimeoutError: the process is still running after the last signal.
    """
    for number, seconds in signals:
        try:
            os.kill(pid, number)
            async with asyncio.timeout(seconds):
                await until_gone(pid)
            return
        except ProcessLookupError:
            return
        except TimeoutError:
            continue
    raise TimeoutError(f"process {pid} did not end")
