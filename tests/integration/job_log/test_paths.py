"""Entries keep the paths of their jobs, also beside a job log that knows no paths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import asyncpg
from tests.integration.job_log.conftest import REQUEST, RunningJobLog, StartJobLog, entry

from spincycle.database.migrations import load_migrations, migrate
from spincycle.job_log.intake import Intake
from spincycle.job_log.process import PACKAGE, SCHEMA
from spincycle.v1 import job_log_service_pb2 as pb

OLD_APPEND = "SELECT job_log.append($1::job_log.new_entry[])"
"""The statement by which a job log of the version before appends."""


async def append_without_path(connection: asyncpg.Connection, number: int) -> None:
    row: tuple[Any, ...] = tuple(Intake(1024, 1024).row(entry(number)))
    assert await connection.fetchval(OLD_APPEND, [row[:-1]]) == 1


async def paths(job_log: RunningJobLog) -> dict[str, list[str]]:
    """Return the paths by each way to read the entries."""
    one = pb.GetEntryRequest(request_id=REQUEST, job_id="j001")
    by_position = pb.ListEntriesRequest(request_id=REQUEST, order=pb.ENTRY_ORDER_POSITION)
    by_job = pb.ListEntriesRequest(request_id=REQUEST, order=pb.ENTRY_ORDER_JOB)
    tail = pb.TailRequest(request_id=REQUEST)
    return {
        "get": [(await job_log.stub.GetEntry(one)).entry.path],
        "by position": [
            entry.path for entry in (await job_log.stub.ListEntries(by_position)).entries
        ],
        "by job": [entry.path for entry in (await job_log.stub.ListEntries(by_job)).entries],
        "tail": [event.entry.path async for event in job_log.tail(tail)],
    }


async def test_every_way_to_read_an_entry_returns_its_path(job_log: RunningJobLog) -> None:
    await job_log.stream().append(entry(1), entry(2))

    both = ["upgrade h01 / job-1", "upgrade h02 / job-2"]
    assert await paths(job_log) == {
        "get": both[:1],
        "by position": both,
        "by job": both,
        "tail": both,
    }


async def test_entries_from_before_there_were_paths_have_none(
    database: str, start: StartJobLog
) -> None:
    steps = load_migrations(PACKAGE)
    await migrate(database, SCHEMA, [step for step in steps if step.version < 3])
    connection = await asyncpg.connect(database)
    await append_without_path(connection, 1)
    await migrate(database, SCHEMA, steps)

    # A job log of the version before works on the migrated schema.
    await append_without_path(connection, 2)
    await connection.close()
    job_log = await start()
    await job_log.stream().append(entry(3))

    found = await paths(job_log)
    assert found["get"] == [""]
    expected = ["", "", "upgrade h03 / job-3"]
    assert found["by position"] == found["by job"] == found["tail"] == expected


async def test_an_entry_that_was_stored_without_its_path_can_be_sent_again_with_it(
    job_log: RunningJobLog, connection: asyncpg.Connection
) -> None:
    await append_without_path(connection, 1)

    assert await job_log.stream().append(entry(1)) == []
    assert len(await job_log.stream().append(replace(entry(1), exit=1))) == 1
