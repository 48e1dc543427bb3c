"""The clock of the database is set back and forth while processes die."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.load import Load
from tests.chaos.storm import RECOVERED_WITHIN, SETTLED_WITHIN, Storm
from tests.chaos.witness import collect, contradictions, recovery_times
from tests.database_time import DatabaseTime
from tests.waiting import until

from spincycle.dev.postgres import EmbeddedPostgres
from spincycle.dev.stack_processes import MARK

if TYPE_CHECKING:  # pytest would take it for a class of tests.
    from tests.chaos.witness import Testimony

HOUR = 3600

LONGEST_TRY = 60.0
"""Seconds; the jobs take one or so."""

NEGATIVE = """
SELECT request_id, created_at, started_at, finished_at
  FROM request_manager.requests
 WHERE NOT (created_at <= started_at AND started_at <= finished_at)
"""
STRANGE = """
SELECT request_id, job_id, try, (finished_at - started_at) / 1e9 AS seconds
  FROM job_log.entries
 WHERE started_at > 0 AND NOT (finished_at - started_at) / 1e9 BETWEEN 0 AND $1
"""


@pytest.fixture
def database_time(home: Path) -> DatabaseTime:
    return DatabaseTime(home)


@pytest.fixture
async def cluster(home: Path, shape: Shape, database_time: DatabaseTime) -> AsyncIterator[Cluster]:
    """A cluster whose database has a clock that the test sets."""
    cluster = Cluster(home, shape)
    environment = {**os.environ, **database_time.environment, MARK: str(home)}
    cluster.database = EmbeddedPostgres(home / "postgres", environment)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_requests_of_dead_runners_go_on_in_time_though_the_clock_goes_back_and_forth(
    cluster: Cluster, load: Load, database_time: DatabaseTime
) -> None:
    storm = Storm(cluster, load)

    for offset, runner, request_manager in [(-HOUR, 0, 0), (0, 1, 1)]:
        marks = len(cluster.marks())
        for _ in range(20):
            await load.create("busy", 1000)
        await until(lambda marks=marks: len(cluster.marks()) > marks + 50)

        database_time.set(offset)
        await storm.kill(cluster.job_runners[runner], again=False)
        await storm.kill(cluster.request_managers[request_manager])
        assert await load.until_final(SETTLED_WITHIN) == []
        cluster.job_runners[runner].start()
        await storm.settled()

    connection = await cluster.connect()
    testimony = await collect(connection, cluster.request_manager, cluster.marks())
    negative, strange = await durations(connection)
    await connection.close()
    testimony = with_true_times(testimony)
    recoveries = recovery_times(testimony, storm.deaths)
    print(
        f"{len(testimony.requests)} requests, {len(recoveries)} interrupted by a death, went on "
        f"after {max(waited for waited, _, _ in recoveries):.1f} s (longest)"
    )
    assert list(contradictions(testimony)) == []
    assert load.wrong == []
    assert len({died_at for _, _, died_at in recoveries}) == 2
    assert [slow for slow in recoveries if slow[0] > RECOVERED_WITHIN] == []
    assert negative == []
    assert strange == []


async def durations(
    connection: asyncpg.Connection,
) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
    """Requests whose times are not in order, and tries that lasted as nothing did."""
    return (
        await connection.fetch(NEGATIVE),
        await connection.fetch(STRANGE, LONGEST_TRY),
    )


def with_true_times(testimony: Testimony) -> Testimony:
    """The testimony with times as they would be had the database's clock not been set back."""
    began = min(mark.at for mark in testimony.marks)

    def true(time: float) -> float:
        return time + HOUR if time < began - HOUR / 2 else time

    return replace(
        testimony,
        entries=[
            replace(entry, committed_at=true(entry.committed_at)) for entry in testimony.entries
        ],
        requests={
            request_id: replace(
                request, finished_at=request.finished_at and true(request.finished_at)
            )
            for request_id, request in testimony.requests.items()
        },
    )
