"""A gateway in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PROGRAM = (sys.executable, "-c", "from spincycle.gateway.process import main; main()")


@asynccontextmanager
async def process(**environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        *PROGRAM,
        env={
            **os.environ,
            "SPINCYCLE_GATEWAY_LISTEN": "127.0.0.1:0",
            "SPINCYCLE_GATEWAY_LOG__FORMAT": "json",
            **environment,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def next_line(running: asyncio.subprocess.Process) -> dict[str, object]:
    assert running.stderr
    line: dict[str, object] = json.loads(await running.stderr.readline())
    return line
