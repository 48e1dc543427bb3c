"""`spincycle repair-fences` lowers fences out of reach and records it in the audit log."""

from __future__ import annotations

import asyncio

import asyncpg
from click.testing import CliRunner, Result
from tests.postgres_fixtures import *  # noqa: F403

from spincycle.admin.main import main
from spincycle.database.migrations import load_migrations, migrate

FENCES = {"high": 2**62, "limit": 2**16, "low": 2**16 - 1, "none": None}


async def fill(dsn: str) -> None:
    for schema in ("request_manager", "job_log"):
        await migrate(dsn, schema, load_migrations(f"spincycle.{schema}"))
    connection = await asyncpg.connect(dsn)
    for request_id, fence in FENCES.items():
        await connection.execute(
            "INSERT INTO request_manager.requests (request_id, type, state, created_at, total_jobs,"
            " spec_revision, plan_hash, epoch) VALUES ($1, 'nap', 1, now(), 3, '', '', 4)",
            request_id,
        )
        if fence is not None:
            await connection.execute(
                "INSERT INTO job_log.fences VALUES ($1, $2)", request_id, fence
            )
    await connection.close()


async def read(dsn: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(query)
    await connection.close()
    return [tuple(row) for row in rows]


def repair(dsn: str, *request_ids: str) -> Result:
    return CliRunner().invoke(main, ["repair-fences", "--dsn", dsn, *request_ids])


def test_only_fences_out_of_reach_are_lowered_to_the_epochs_of_their_requests(
    database: str,
) -> None:
    asyncio.run(fill(database))

    ended = repair(database, *FENCES)

    assert ended.exit_code == 0, ended.output
    assert ended.output.splitlines() == [
        f"high: fence lowered from {2**62} to 4",
        f"limit: fence lowered from {2**16} to 4",
        "low: nothing to repair",
        "none: nothing to repair",
    ]
    fences = asyncio.run(read(database, "SELECT * FROM job_log.fences ORDER BY 1"))
    assert fences == [("high", 4), ("limit", 4), ("low", 2**16 - 1)]
    audited = "SELECT action, request_id, reason FROM request_manager.audit ORDER BY request_id"
    assert asyncio.run(read(database, audited)) == [
        ("repair-fence", "high", f"fence lowered from {2**62} to 4"),
        ("repair-fence", "limit", f"fence lowered from {2**16} to 4"),
    ]
    assert "nothing to repair" in repair(database, "high").output


def test_an_unknown_request_is_reported(database: str) -> None:
    asyncio.run(fill(database))

    ended = repair(database, "nobody", "high")

    assert ended.exit_code == 1
    assert "request nobody not found" in ended.output
    assert "high: fence lowered" in ended.output
