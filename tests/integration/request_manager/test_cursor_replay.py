"""Streams of all requests that resume together after a restart of their request manager."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from tests.integration.request_manager.conftest import (
    Context,
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    another,
    running_manager,
    until,
)
from tests.integration.request_manager.watch_call import (
    COMPLETE,
    RUNNING,
    Received,
    publish_job,
    revisions_of,
    running_request,
    watching,
)

from spincycle.database.database import Database
from spincycle.internal.v1 import job_runner_service_pb2
from spincycle.model.revision import number_of
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.storage.job_log_client import JobLogClient
from spincycle.request_manager.watch import filter_subscription, replay_plan
from spincycle.request_manager.watch.cursor import Cursor
from spincycle.v1 import job_log_pb2, request_pb2

ENDED_REQUESTS = 30
RUNNING_REQUESTS = 3


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Number of reads of each request's journal."""
    reads: Counter[str] = Counter()
    entries = JobLogClient.entries

    def count(self: JobLogClient, request_id: str, *, without_output: bool) -> Any:
        reads[request_id] += 1
        return entries(self, request_id, without_output=without_output)

    monkeypatch.setattr(JobLogClient, "entries", count)
    return reads


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Number of executions of each query that returns rows."""
    names: Counter[str] = Counter()
    fetch = Database.fetch

    async def count(self: Database, name: str, /, **values: Any) -> Any:
        names[name] += 1
        return await fetch(self, name, **values)

    monkeypatch.setattr(Database, "fetch", count)
    return names


@asynccontextmanager
async def restarted(
    config: RequestManagerConfig, job_log: ShelvedJobLog
) -> AsyncIterator[tuple[Manager, str, list[str], list[str]]]:
    """A request manager that was down while requests ended at another one.

    Also yields a cursor from before that time, the requests that have ended since, and those that
    are running; the last of these began in that time.
    """
    runner = SteeredRunner("one")
    async with running_manager(another(config), job_log) as other:
        await other.register(runner)
        async with running_manager(config, job_log) as manager, watching(manager) as received:
            running = [await running_request(manager, runner) for _ in range(RUNNING_REQUESTS)]
            for request_id in running:
                await manager.until_state(request_id, RUNNING)
            ids = [await running_request(manager, runner) for _ in range(ENDED_REQUESTS)]
            await until(lambda: all(RUNNING in received.states_of(id_) for id_ in running + ids))
        for index, request_id in enumerate(ids):
            if index == ENDED_REQUESTS // 2:
                running.append(await running_request(other, runner))
                await other.until_state(running[-1], RUNNING)
            job_log.entries[request_id] = [
                job_log_pb2.JobLog(
                    request_id=request_id, job_id="a", position=1, epoch=1, state=COMPLETE
                )
            ]
            await other.finish(request_id, 1)
        for request_id in running:
            await publish_job(runner, request_id, "b", RUNNING, number_of(0, 1000))
        async with running_manager(config, job_log) as manager:
            yield manager, received.cursor, ids, running


async def resume(
    manager: Manager, streams: int, cursor: str, ended: list[str], running: list[str]
) -> list[Received]:
    """Return what some streams receive that resume at the same moment."""

    async def one(stack: AsyncExitStack) -> Received:
        late = await stack.enter_async_context(watching(manager, cursor=cursor))
        await until(lambda: all(COMPLETE in late.states_of(id_) for id_ in ended))
        await until(lambda: all(late.of(id_) for id_ in running))
        return late

    async with AsyncExitStack() as stack:
        return await asyncio.gather(*(one(stack) for _ in range(streams)))


@pytest.mark.parametrize("streams", [1, 12])
async def test_streams_that_resume_together_share_the_reads_of_a_replay(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    counted: Counter[str],
    statements: Counter[str],
    streams: int,
) -> None:
    async with restarted(config, job_log[0]) as (manager, cursor, ended, running):
        counted.clear()
        statements.clear()
        received = await resume(manager, streams, cursor, ended, running)

    for late in received:
        assert {id_: late.of(id_) for id_ in ended} == {
            id_: ["snapshot COMPLETE a"] for id_ in ended
        }
        assert all(late.of(id_) == ["b RUNNING"] for id_ in running[:RUNNING_REQUESTS])
        assert late.of(running[RUNNING_REQUESTS]) == ["snapshot RUNNING", "b RUNNING"]
    del counted[running[RUNNING_REQUESTS]]
    assert counted == dict.fromkeys(ended, 1)
    # One per part and per round, and those of the request manager itself.
    assert statements["args_of_requests"] <= 8
    assert statements["get_requests"] <= 8


async def test_a_client_disconnected_during_a_replay_resumes_from_its_last_cursor(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with restarted(config, job_log[0]) as (manager, cursor, ended, running):
        with monkeypatch.context() as small:
            small.setattr(filter_subscription, "FLUSH_BYTES", 0)
            small.setattr(replay_plan, "PART_REQUESTS", 4)
            (received,) = await resume(manager, 1, cursor, ended, running)
        resumed = 0
        for number, message in enumerate(received.messages):
            after = [event for later in received.messages[number + 1 :] for event in later.events]
            if not after or not message.cursor:
                continue
            resumed += 1
            async with watching(manager, cursor=message.cursor) as late:
                pass
            assert revisions_of(late.events) == revisions_of(after), message.cursor

    assert resumed > 3


async def test_streams_with_different_filters_share_a_replay_round(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    counted: Counter[str],
) -> None:
    async with restarted(config, job_log[0]) as (manager, cursor, ended, running):
        counted.clear()
        mine = request_pb2.RequestFilter(args={"ms": "1"})
        other = request_pb2.RequestFilter(args={"ms": "2"})
        async with (
            watching(manager, cursor=cursor, filter=other) as nothing,
            watching(manager, cursor=cursor, filter=mine) as late,
        ):
            await until(lambda: all(COMPLETE in late.states_of(id_) for id_ in ended))

    assert nothing.events == []
    assert {event.request_id for event in late.events} == {*ended, *running}


class CountingRunner(SteeredRunner):
    """A runner that counts the DescribeChains calls for each chain."""

    def __init__(self, runner_id: str) -> None:
        super().__init__(runner_id)
        self.described: Counter[str] = Counter()

    async def DescribeChains(
        self, request: job_runner_service_pb2.DescribeChainsRequest, context: Context
    ) -> job_runner_service_pb2.DescribeChainsResponse:
        self.described.update(chain.request_id for chain in request.chains)
        return await super().DescribeChains(request, context)


@pytest.mark.parametrize("streams", [1, 24])
async def test_streams_that_start_together_share_the_reads_of_live_requests(
    manager: Manager, statements: Counter[str], streams: int
) -> None:
    runner = CountingRunner("one")
    await manager.register(runner)
    ids = [await running_request(manager, runner) for _ in range(RUNNING_REQUESTS)]
    for request_id in ids:
        await publish_job(runner, request_id, "a", RUNNING, number_of(0, 1000))
    statements.clear()

    async def one(stack: AsyncExitStack) -> Received:
        received = await stack.enter_async_context(watching(manager, include_job_chain=True))
        await until(lambda: all(received.of(id_) for id_ in ids))
        return received

    async with AsyncExitStack() as stack:
        received = await asyncio.gather(*(one(stack) for _ in range(streams)))

    for each in received:
        assert all(each.of(id_) == ["snapshot RUNNING a"] for id_ in ids)
        assert all(len(event.snapshot.job_chain.jobs) == 3 for event in each.events)
    # The first subscriber reads alone, and the others may arrive during different reads.
    assert max(runner.described.values()) <= 8
    assert statements["list_requests"] <= 8
    assert statements["get_job_chains"] <= 6 * len(ids)


async def test_visible_transactions_are_those_that_postgresql_shows(database: str) -> None:
    draw = random.Random(1)
    connection = await asyncpg.connect(database)
    try:
        for _ in range(100):
            first, last = sorted(draw.sample(range(3, 40), 2))
            running = sorted(
                {first, *draw.sample(range(first, last), draw.randrange(last - first))}
            )
            seen = f"{first}:{last}:{','.join(map(str, running))}"
            shown = await connection.fetch(
                "SELECT n FROM generate_series(1, 45) AS n "
                "WHERE pg_visible_in_snapshot(n::text::xid8, $1::text::pg_snapshot)",
                seen,
            )
            visible = Cursor(seen, {}).visible
            assert [row["n"] for row in shown] == [n for n in range(1, 46) if visible.includes(n)]
    finally:
        await connection.close()
