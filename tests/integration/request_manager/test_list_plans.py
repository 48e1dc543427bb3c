from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import asyncpg
import pytest

from spincycle.database.database import SETTINGS
from spincycle.database.migrations import load_migrations, migrate
from spincycle.database.queries import load_queries
from spincycle.model.state import State
from spincycle.request_manager.process import PACKAGE, SCHEMA
from spincycle.request_manager.storage.model import RequestFilter
from spincycle.request_manager.storage.request_store import FAR_FUTURE, is_selective

ROWS = 20_000

# Every type, user and host is one of a hundred, one request in two thousand has not ended.
FILL = """
INSERT INTO request_manager.requests
       (request_id, type, state, user_name, created_at, started_at, finished_at, total_jobs,
        spec_revision, plan_hash, given_args)
SELECT 'r' || lpad(n::text, 19, '0'), 'type-' || n % 100,
       CASE WHEN n % 2000 = 0 THEN 2 ELSE 3 END, 'user-' || n % 100, at, at,
       CASE WHEN n % 2000 = 0 THEN NULL ELSE at END, 5, '', '',
       jsonb_build_object('host', 'host-' || n % 100)
  FROM (SELECT n, now() - n * interval '1 second' AS at
          FROM generate_series(1, $1::integer) AS n) AS old
"""

SELDOM = [f"seldom-{n}" for n in range(8)]

# They were run in the beginning, and never since.
FILL_SELDOM = """
UPDATE request_manager.requests
   SET type = 'seldom-' || right(request_id, 3)::integer % 8
 WHERE request_id > 'r0000000000000015500'
"""

NOTHING: dict[str, object] = {
    "type": "",
    "types": None,
    "user": "",
    "states": [],
    "args": "{}",
    "since": None,
    "until": FAR_FUTURE,
    "after_time": FAR_FUTURE,
    "after_id": "",
    "limit": 11,
    "offset": 0,
    "with_args": False,
}


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    """Connection to a database with many requests."""
    await migrate(database, SCHEMA, load_migrations(PACKAGE))
    connection = await asyncpg.connect(database, server_settings=SETTINGS)
    await connection.execute(FILL, ROWS)
    await connection.execute(FILL_SELDOM)
    await connection.execute("VACUUM ANALYZE request_manager.requests")
    yield connection
    await connection.close()


def _leaves(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    inner = plan.get("Plans", [])
    if not inner:
        yield plan
    for part in inner:
        yield from _leaves(part)


async def test_no_list_reads_many_more_requests_than_it_returns(
    connection: asyncpg.Connection,
) -> None:
    queries = load_queries(PACKAGE)
    far = await connection.fetchrow(
        "SELECT created_at, request_id FROM request_manager.requests OFFSET 15000 LIMIT 1"
    )
    assert far is not None
    wanted: dict[str, dict[str, object]] = {
        "all": {},
        "a page far down": {"after_time": far["created_at"], "after_id": far["request_id"]},
        "of a type": {"type": "type-7"},
        "of a type that has none": {"type": "none"},
        "of a type that may be viewed": {"types": ["type-7"]},
        "of types that may be viewed": {"types": [f"type-{n}" for n in range(40)]},
        "of types that may be viewed and have none": {"types": ["none", "nothing"]},
        "far down of types that may be viewed": {
            "types": [f"type-{n}" for n in range(10)],
            "after_time": far["created_at"],
            "after_id": far["request_id"],
        },
        "of a user, of types that may be viewed": {"user": "user-7", "types": ["type-7"]},
        "in a state, of types that may be viewed": {"states": [2], "types": ["type-0", "type-1"]},
        "with an argument, of types that may be viewed": {
            "args": '{"host": "host-77"}',
            "types": ["type-0", "type-1"],
        },
        "of types that are seldom run": {"types": SELDOM},
        "ended ones of types that are seldom run": {"types": SELDOM, "states": [3]},
        "of a user": {"user": "user-7"},
        "of a user who has none": {"user": "none"},
        "in a state": {"states": [2]},
        "active ones of a type": {"states": [1, 2, 7], "type": "type-0"},
        "with an argument": {"args": '{"host": "host-77"}'},
        "with an argument that none has": {"args": '{"host": "none"}'},
    }
    looked_at = {}
    for name, given in wanted.items():
        values = NOTHING | given
        which = RequestFilter(
            user=str(values["user"]),
            states=tuple(State(state) for state in cast("list[int]", values["states"])),
            args=json.loads(str(values["args"])),
        )
        query = queries["list_requests"]
        if values["types"] is not None and not is_selective(which):
            query = queries["list_requests_of_types"]
            values = {name: values[name] for name in values.keys() - {"type", "user", "args"}}
        explained = await connection.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {query.sql}", *query.bind(values)
        )
        looked_at[name] = sum(
            (leaf["Actual Rows"] + leaf.get("Rows Removed by Filter", 0)) * leaf["Actual Loops"]
            for leaf in _leaves(json.loads(explained)[0]["Plan"])
        )
    assert {name: rows for name, rows in looked_at.items() if rows > 1500} == {}
