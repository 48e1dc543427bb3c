"""Hearing what other processes tell through PostgreSQL's NOTIFY."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import structlog

from spincycle.config import DatabaseConfig
from spincycle.database.database import UNREACHABLE

RETRY_INTERVAL = 1.0
"""Seconds between two attempts to listen again."""

PROBE_INTERVAL = 30.0
"""Seconds between two probes that tell a half-open connection from a quiet one."""


async def listen(
    config: DatabaseConfig,
    channel: str,
    hear: Callable[[str], None],
    connected: Callable[[], None],
) -> None:
    """Call `hear` with the payload of every notification, until cancelled.

    `connected` is called each time listening begins: whatever was told before that was not
    heard, so the listener must look for itself.
    """
    log = structlog.get_logger()
    while True:
        try:
            connection = await asyncpg.connect(
                config.dsn.get_secret_value(),
                timeout=5.0,
                server_settings={"application_name": f"spincycle-listen-{channel}"},
            )
        except UNREACHABLE:
            await asyncio.sleep(RETRY_INTERVAL)
            continue
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _, lost=lost: lost.set())
            await connection.add_listener(channel, lambda *told: hear(str(told[3])))
            connected()
            while not lost.is_set():
                try:
                    await asyncio.wait_for(lost.wait(), PROBE_INTERVAL)
                except TimeoutError:
                    await connection.execute("SELECT 1", timeout=5.0)
        except UNREACHABLE as error:
            log.warning("lost the notifications of the database", cause=repr(error))
        finally:
            connection.terminate()
