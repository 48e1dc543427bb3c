"""Hearing what other processes tell through PostgreSQL's NOTIFY."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import structlog

from spincycle.database.connection import connect
from spincycle.database.outages import outage_of
from spincycle.runtime.config import DatabaseConfig

RETRY_INTERVAL = 1.0
"""Seconds between two attempts to listen again."""

STATEMENT_TIMEOUT = 5.0
"""Seconds that a statement on the listening session may take."""

PROBE_INTERVAL = 5.0
"""Seconds between two probes that tell a half-open connection from a quiet one."""


async def listen(
    config: DatabaseConfig,
    channel: str,
    hear: Callable[[str], None],
    connected: Callable[[], None],
    lost: Callable[[], None] = lambda: None,
    *,
    enter: str = "",
    leave: str = "",
) -> None:
    """Call `hear` with the payload of every notification, until cancelled.

    `connected` is called each time listening begins: whatever was told before that was not
    heard, so the listener must look for itself. `lost` is called when listening ends. `enter` is
    a statement that the session runs before, and `leave` one that it runs when this is cancelled.

    Raises:
        ConfigError: the address of the database is not valid.
    """
    log = structlog.get_logger()
    lasting = False

    def failed(error: Exception) -> None:
        nonlocal lasting
        if not _is_of_the_database(error):
            raise error
        if not lasting:
            log.warning(
                "lost the notifications of the database", channel=channel, cause=repr(error)
            )
        lasting = True

    while True:
        try:
            connection = await connect(config.dsn.reveal(), f"spincycle-listen-{channel}")
        except Exception as error:  # noqa: BLE001 # what is not of the database is raised
            failed(error)
            await asyncio.sleep(RETRY_INTERVAL)
            continue
        try:
            ended = asyncio.Event()
            connection.add_termination_listener(lambda _, ended=ended: ended.set())
            await connection.add_listener(channel, lambda *told: hear(str(told[3])))
            if enter:
                await connection.execute(enter, timeout=STATEMENT_TIMEOUT)
            connected()
            if lasting:
                log.info("notifications of the database arrive again", channel=channel)
            lasting = False
            while not ended.is_set():
                try:
                    # Not wait_for: Python 3.11's loses a cancellation that comes with the event.
                    async with asyncio.timeout(PROBE_INTERVAL):
                        await ended.wait()
                except TimeoutError:
                    await connection.execute("SELECT 1", timeout=STATEMENT_TIMEOUT)
        except asyncio.CancelledError:
            if leave:
                await _run_last(connection, leave)
            raise
        except Exception as error:  # noqa: BLE001 # what is not of the database is raised
            failed(error)
        finally:
            lost()
            connection.terminate()
        await asyncio.sleep(RETRY_INTERVAL)


async def _run_last(connection: asyncpg.Connection, statement: str) -> None:
    try:
        await connection.execute(statement, timeout=STATEMENT_TIMEOUT)
    except Exception as error:
        if not _is_of_the_database(error):
            raise


def _is_of_the_database(error: Exception) -> bool:
    return isinstance(error, asyncpg.PostgresError) or outage_of(error) is not None
