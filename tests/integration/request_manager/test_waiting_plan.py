from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from spincycle.database.database import SETTINGS
from spincycle.database.migrations import load_migrations, migrate
from spincycle.database.queries import load_queries
from spincycle.request_manager.process import PACKAGE, SCHEMA

ROWS = 20_000

FILL = """
INSERT INTO request_manager.requests
       (request_id, type, state, created_at, total_jobs, spec_revision, plan_hash, job_types,
        max_running)
SELECT 'r' || n, 'type-' || n % 100, 1, now() - n * interval '1 second', 5, '', '',
       '{sleep,copy}', CASE WHEN n % 2000 = 0 THEN 3 END
  FROM generate_series(1, $1::integer) AS n
"""
RUNNER = """
INSERT INTO request_manager.runners
       (runner_id, address, max_chains, max_jobs, job_types, version)
VALUES ('runner', '127.0.0.1:1', 0, 0, '{copy,noop,sleep}', '')
"""


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    """Connection to a database with many waiting requests."""
    await migrate(database, SCHEMA, load_migrations(PACKAGE))
    connection = await asyncpg.connect(database, server_settings=SETTINGS)
    await connection.execute(FILL, ROWS)
    await connection.execute(RUNNER)
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)


async def test_a_batch_is_found_without_reading_all_waiting_requests(
    connection: asyncpg.Connection,
) -> None:
    query = load_queries(PACKAGE)["waiting_requests"]
    explained = await connection.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {query.sql}",
        *query.bind({"unavailable": [], "batch": 200}),
    )

    plan = json.loads(explained)[0]["Plan"]
    assert plan["Actual Rows"] == 200
    rows = sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in _nodes(plan)
        if node.get("Relation Name") == "requests"
    )
    assert rows < 1000
