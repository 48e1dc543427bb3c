"""Waiting for a child process on any event loop, uvloop's included."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Sequence

Process = subprocess.Popen[bytes]


async def until_ended(process: Process) -> int:
    """Wait for the end of a child and reap it; answer its exit code, or -N for signal N.

    Any number of tasks may wait for one child.
    """
    code = process.poll()
    if code is None:
        await until_gone(process.pid)
        code = process.wait()
    return code


async def until_gone(pid: int) -> None:
    """Wait for the end of any process of this machine, a child or not."""
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
    """Send each signal in turn, waiting its seconds for the process to end, until it has.

    Raises:
        TimeoutError: the process has outlived all of them.
    """
    for number, patience in signals:
        try:
            os.kill(pid, number)
            async with asyncio.timeout(patience):
                await until_gone(pid)
            return
        except ProcessLookupError:
            return
        except TimeoutError:
            continue
    raise TimeoutError(f"process {pid} does not end")
