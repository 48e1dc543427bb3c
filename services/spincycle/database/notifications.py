"""Receives notifications of PostgreSQL's LISTEN/NOTIFY."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import structlog

from spincycle.database.connection import connect
from spincycle.database.outages import outage_of
from spincycle.runtime.backoff import Backoff
from spincycle.runtime.config import DatabaseConfig

RETRY_INTERVAL = 1.0
"""Maximum seconds between two attempts to reconnect."""

STATEMENT_TIMEOUT = 5.0
"""Seconds that a statement on the listening session may take."""

PROBE_INTERVAL = 5.0
"""Seconds between two probes, which detect a half-open connection."""


async def listen(
    config: DatabaseConfig,
    channel: str,
    on_payload: Callable[[str], None],
    on_connected: Callable[[], None],
    on_lost: Callable[[], None] = lambda: None,
    *,
    setup: str = "",
    teardown: str = "",
) -> None:
    """Call `on_payload` with the payload of every notification on a channel, until cancelled.

    `on_connected` is called after each connect: notifications sent before are lost, so the caller
    must read the current state. `on_lost` is called when a session ends. Each session runs the
    statement `setup` before `on_connected`, and `teardown` when this coroutine is cancelled.

    Raises:
        ConfigError: the address of the database is not valid.
    """
    log = structlog.get_logger()
    disconnected = False
    backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)

    def handle(error: Exception) -> None:
        nonlocal disconnected
        if not _is_database_error(error):
            raise error
        if not disconnected:
            log.warning("database notifications lost", channel=channel, cause=repr(error))
        disconnected = True

    while True:
        try:
            connection = await connect(config.dsn.reveal(), f"spincycle-listen-{channel}")
        except Exception as error:  # noqa: BLE001 # `handle` raises other errors
            handle(error)
            await backoff.wait()
            continue
        try:
            ended = asyncio.Event()
            connection.add_termination_listener(lambda _, ended=ended: ended.set())
            await connection.add_listener(
                channel, lambda _connection, _pid, _channel, payload: on_payload(str(payload))
            )
            if setup:
                await connection.execute(setup, timeout=STATEMENT_TIMEOUT)
            on_connected()
            if disconnected:
                log.info("database notifications restored", channel=channel)
            disconnected = False
            while not ended.is_set():
                try:
                    # Not wait_for: Python 3.11's loses a cancellation concurrent with the event.
                    async with asyncio.timeout(PROBE_INTERVAL):
                        await ended.wait()
                except TimeoutError:
                    await connection.execute("SELECT 1", timeout=STATEMENT_TIMEOUT)
        except asyncio.CancelledError:
            if teardown:
                await _run_last(connection, teardown)
            raise
        except Exception as error:  # noqa: BLE001 # `handle` raises other errors
            handle(error)
        finally:
            on_lost()
            connection.terminate()
        await backoff.wait()


async def _run_last(connection: asyncpg.Connection, statement: str) -> None:
    try:
        await connection.execute(statement, timeout=STATEMENT_TIMEOUT)
    except Exception as error:
        if not _is_database_error(error):
            raise


def _is_database_error(error: Exception) -> bool:
    return isinstance(error, asyncpg.PostgresError) or outage_of(error) is not None
