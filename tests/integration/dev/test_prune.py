"""The rows that `spincycle prune` deletes and keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from click.testing import CliRunner, Result
from tests.postgres_fixtures import PostgresServer

from spincycle.admin.main import main
from spincycle.database.migrations import load_migrations, migrate
from spincycle.database.queries import load_queries

RUNNING, COMPLETE, FAIL, STOPPED, SUSPENDED = 2, 3, 4, 6, 7
ENDED = {COMPLETE, FAIL, STOPPED}
SERVICES = ("request_manager", "job_log")


class Kept:
    """Inserts and reads rows of the databases."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def add(self, request_id: str, state: int, made: int, ended: int | None = None) -> None:
        """Insert a request that ended some days ago, with a journal of two entries."""
        asyncio.run(self._add(request_id, state, made, ended))

    def of(self, table: str) -> list[str]:
        """Return the requests with rows in a table."""
        query = f"SELECT DISTINCT request_id FROM {table} ORDER BY 1"
        return [row[0] for row in asyncio.run(self._fetch(query))]

    def prune(self, *options: str) -> Result:
        """Run the command."""
        return CliRunner().invoke(main, ["prune", "--dsn", self.dsn, *options])

    async def _add(self, request_id: str, state: int, made: int, ended: int | None) -> None:
        now = datetime.now(UTC)
        finished_at = None
        if state in ENDED:
            finished_at = now - timedelta(days=made if ended is None else ended)
        runner_id = "r1" if state == RUNNING else None
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(
                "INSERT INTO request_manager.requests (request_id, type, state, created_at,"
                " finished_at, total_jobs, spec_revision, plan_hash, runner_id)"
                " VALUES ($1, 'nap', $2, $3, $4, 2, '', '', $5)",
                request_id,
                state,
                now - timedelta(days=made),
                finished_at,
                runner_id,
            )
            await connection.execute(
                "INSERT INTO request_manager.request_archives VALUES ($1, '{}', '[]', '')",
                request_id,
            )
            await connection.execute(
                "INSERT INTO request_manager.suspended_job_chains VALUES ($1, '')", request_id
            )
            await connection.execute(
                "INSERT INTO request_manager.audit (user_name, action, request_id)"
                " VALUES ('ann', 'create', $1)",
                request_id,
            )
            await connection.execute("INSERT INTO job_log.fences VALUES ($1, 1)", request_id)
            for number in (1, 2):
                await connection.execute(
                    "INSERT INTO job_log.entries VALUES"
                    " ($1, $2, 1, $3, 1, 1, 2, 0, 1, 3, true, 'n', 't', 's', '', '', '', NULL)",
                    request_id,
                    f"job{number}",
                    number,
                )
        finally:
            await connection.close()

    async def _fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.dsn)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query, *values)
        finally:
            await connection.close()
        return rows

    def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        return asyncio.run(self._fetch(query, *values))


@pytest.fixture
def kept(postgres: PostgresServer) -> Iterator[Kept]:
    name = asyncio.run(postgres.create_database())
    dsn = postgres.embedded.dsn(name)
    for schema in SERVICES:
        asyncio.run(migrate(dsn, schema, load_migrations(f"spincycle.{schema}")))
    yield Kept(dsn)
    asyncio.run(postgres.drop_database(name))


TABLES = (
    "request_manager.requests",
    "request_manager.request_archives",
    "request_manager.suspended_job_chains",
    "job_log.entries",
    "job_log.fences",
)


def test_requests_that_ended_before_the_age_are_deleted_with_all_their_data(kept: Kept) -> None:
    for state in sorted(ENDED):
        kept.add(f"old-{state}", state, made=100)
        kept.add(f"new-{state}", state, made=10)

    result = kept.prune("--older-than", "90d")

    assert result.exit_code == 0, result.output
    assert result.output.startswith("deleted 3 requests that ended before ")
    assert ", 6 journal entries" in result.output
    for table in TABLES:
        assert kept.of(table) == ["new-3", "new-4", "new-6"], table


def test_unfinished_requests_are_kept_at_any_age(kept: Kept) -> None:
    kept.add("running", RUNNING, made=400)
    kept.add("suspended", SUSPENDED, made=400)
    kept.add("ran-long", COMPLETE, made=400, ended=1)

    kept.prune("--older-than", "90d")

    for table in TABLES:
        assert kept.of(table) == ["ran-long", "running", "suspended"], table


def test_many_requests_are_deleted_in_small_batches(kept: Kept) -> None:
    for number in range(7):
        kept.add(f"r{number}", COMPLETE, made=100 + number)

    result = kept.prune("--older-than", "2160h", "--batch", "2")

    assert result.output.startswith("deleted 7 requests")
    assert kept.of("job_log.entries") == []


def test_the_next_run_completes_an_interrupted_deletion(
    kept: Kept,
) -> None:
    kept.add("half", FAIL, made=100)
    kept.rows("DELETE FROM job_log.entries WHERE request_id = 'half'")

    result = kept.prune("--older-than", "90d")

    assert result.output.startswith("deleted 1 requests")
    assert kept.of("request_manager.requests") == []


def test_the_audit_log_is_kept_when_its_requests_are_deleted(kept: Kept) -> None:
    kept.add("old", COMPLETE, made=100)

    kept.prune("--older-than", "90d")

    assert kept.of("request_manager.requests") == []
    assert kept.of("request_manager.audit") == ["old"]


def test_without_an_age_nothing_is_deleted(kept: Kept) -> None:
    result = kept.prune()

    assert result.exit_code == 2
    assert "give --older-than, --audit-older-than, or both" in result.output


def test_a_dry_run_counts_and_deletes_nothing(kept: Kept) -> None:
    kept.add("old", COMPLETE, made=100)
    kept.add("new", COMPLETE, made=1)

    result = kept.prune("--older-than", "90d", "--dry-run")

    assert result.output.startswith("1 requests ended before ")
    assert kept.of("request_manager.requests") == ["new", "old"]


def test_old_runners_without_a_request_are_deleted(kept: Kept) -> None:
    kept.add("running", RUNNING, made=1)
    for runner_id, days in (("r1", 100), ("r2", 100), ("r3", 1), ("r4", None)):
        kept.rows(
            "INSERT INTO request_manager.runners"
            " (runner_id, address, max_chains, max_jobs, job_types, version, deregistered_at)"
            " VALUES ($1, '', 0, 0, '{}', '', now() - make_interval(days => $2::int))",
            runner_id,
            days,
        )

    kept.prune("--older-than", "90d")

    left = kept.rows("SELECT runner_id FROM request_manager.runners ORDER BY 1")
    assert [row[0] for row in left] == ["r1", "r3", "r4"]


@pytest.mark.parametrize("age", ["90", "yesterday", "0d", "-5h", "99999d", ""])
def test_an_invalid_age_is_rejected(age: str) -> None:
    result = CliRunner().invoke(main, ["prune", "--older-than", age])

    assert result.exit_code == 2
    assert "write it as 90d" in result.output


def test_a_database_outage_is_one_line() -> None:
    result = CliRunner().invoke(
        main, ["prune", "--older-than", "90d", "--dsn", "postgresql://127.0.0.1:1/none"]
    )

    assert result.exit_code == 1
    assert (
        "error: not finished, run the command again: the database is unavailable" in result.output
    )
    assert "Traceback" not in result.output


def test_finding_old_requests_reads_only_the_old_end_of_an_index(kept: Kept) -> None:
    kept.rows(
        "INSERT INTO request_manager.requests (request_id, type, state, created_at, finished_at,"
        " total_jobs, spec_revision, plan_hash)"
        " SELECT 'r' || n, 'nap', 3, now() - n * interval '1 minute', now() - n * interval"
        " '1 minute', 1, '', '' FROM generate_series(1, 20000) AS n"
    )
    kept.rows("ANALYZE request_manager.requests")
    query = load_queries("spincycle.request_manager")["ended_before"]
    values = query.bind(
        {"state": COMPLETE, "moment": datetime.now(UTC) - timedelta(days=1), "batch": 100}
    )
    plan = "\n".join(row[0] for row in kept.rows(f"EXPLAIN ANALYZE {query.sql}", *values))

    assert "Index Scan Backward using requests_by_" in plan
    assert "Sort" not in plan
