"""Watchers of all requests that resume together after their request manager was restarted."""

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
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    another,
    running_manager,
    until,
)
from tests.integration.request_manager.test_watch import (
    COMPLETE,
    RUNNING,
    Told,
    _places,
    begun,
    tell,
    watching,
)

from spincycle.database.database import Database
from spincycle.model.revision import number_of
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.storage.job_log_client import JobLogClient
from spincycle.request_manager.watch import filter_subscription, replay_plan
from spincycle.request_manager.watch.cursor import Cursor
from spincycle.v1 import job_log_pb2, request_pb2

REQUESTS = 30
STAY = 3


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the journal of each request was read."""
    reads: Counter[str] = Counter()
    entries = JobLogClient.entries

    def count(self: JobLogClient, request_id: str, *, without_output: bool) -> Any:
        reads[request_id] += 1
        return entries(self, request_id, without_output=without_output)

    monkeypatch.setattr(JobLogClient, "entries", count)
    return reads


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each query was run that finds rows."""
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
    """A request manager that was away while requests ended at another one.

    Also the cursor that watchers had before, the requests that ended since, and those that run;
    the last one of these began meanwhile, too.
    """
    runner = SteeredRunner("one")
    async with running_manager(another(config), job_log) as other:
        await other.register(runner)
        async with running_manager(config, job_log) as manager, watching(manager) as told:
            stay = [await begun(manager, runner) for _ in range(STAY)]
            for request_id in stay:
                await manager.until_state(request_id, RUNNING)
            ids = [await begun(manager, runner) for _ in range(REQUESTS)]
            await until(lambda: all(RUNNING in told.states_of(id_) for id_ in stay + ids))
        for place, request_id in enumerate(ids):
            if place == REQUESTS // 2:
                stay.append(await begun(other, runner))
                await other.until_state(stay[-1], RUNNING)
            job_log.entries[request_id] = [
                job_log_pb2.JobLog(
                    request_id=request_id, job_id="a", position=1, epoch=1, state=COMPLETE
                )
            ]
            await other.finish(request_id, 1)
        for request_id in stay:
            await tell(runner, request_id, "b", RUNNING, number_of(0, 1000))
        async with running_manager(config, job_log) as manager:
            yield manager, told.cursor, ids, stay


async def resume(
    manager: Manager, watchers: int, cursor: str, ended: list[str], stayed: list[str]
) -> list[Told]:
    """What each of some watchers is told that resume at the same moment."""

    async def one(stack: AsyncExitStack) -> Told:
        late = await stack.enter_async_context(watching(manager, cursor=cursor))
        await until(lambda: all(COMPLETE in late.states_of(id_) for id_ in ended))
        await until(lambda: all(late.of(id_) for id_ in stayed))
        return late

    async with AsyncExitStack() as stack:
        return await asyncio.gather(*(one(stack) for _ in range(watchers)))


@pytest.mark.parametrize("watchers", [1, 12])
async def test_watchers_that_resume_together_share_the_reads_of_what_they_missed(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    counted: Counter[str],
    statements: Counter[str],
    watchers: int,
) -> None:
    async with restarted(config, job_log[0]) as (manager, cursor, ended, stayed):
        counted.clear()
        statements.clear()
        told = await resume(manager, watchers, cursor, ended, stayed)

    for late in told:
        assert {id_: late.of(id_) for id_ in ended} == {
            id_: ["snapshot COMPLETE a"] for id_ in ended
        }
        assert all(late.of(id_) == ["b RUNNING"] for id_ in stayed[:STAY])
        assert late.of(stayed[STAY]) == ["snapshot RUNNING", "b RUNNING"]
    del counted[stayed[STAY]]
    assert counted == dict.fromkeys(ended, 1)
    # As many as portions and rounds, and those of the request manager itself.
    assert statements["args_of_requests"] <= 8
    assert statements["get_requests"] <= 8


async def test_a_client_that_is_cut_while_it_catches_up_goes_on_from_its_last_cursor(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with restarted(config, job_log[0]) as (manager, cursor, ended, stayed):
        with monkeypatch.context() as small:
            small.setattr(filter_subscription, "FLUSH_BYTES", 0)
            small.setattr(replay_plan, "PART_REQUESTS", 4)
            (told,) = await resume(manager, 1, cursor, ended, stayed)
        cut = 0
        for number, message in enumerate(told.messages):
            after = [event for later in told.messages[number + 1 :] for event in later.events]
            if not after or not message.cursor:
                continue
            cut += 1
            async with watching(manager, cursor=message.cursor) as late:
                pass
            assert _places(late.events) == _places(after), message.cursor

    assert cut > 3


async def test_watchers_with_filters_of_their_own_are_told_theirs_from_the_same_round(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    counted: Counter[str],
) -> None:
    async with restarted(config, job_log[0]) as (manager, cursor, ended, stayed):
        counted.clear()
        mine = request_pb2.RequestFilter(args={"ms": "1"})
        other = request_pb2.RequestFilter(args={"ms": "2"})
        async with (
            watching(manager, cursor=cursor, filter=other) as nothing,
            watching(manager, cursor=cursor, filter=mine) as late,
        ):
            await until(lambda: all(COMPLETE in late.states_of(id_) for id_ in ended))

    assert nothing.events == []
    assert {event.request_id for event in late.events} == {*ended, *stayed}


class CountingRunner(SteeredRunner):
    """A runner that counts how often it is asked for each of its chains."""

    def __init__(self, runner_id: str) -> None:
        super().__init__(runner_id)
        self.described: Counter[str] = Counter()

    async def DescribeChains(self, request, context):  # type: ignore[no-untyped-def]
        self.described.update(chain.request_id for chain in request.chains)
        return await super().DescribeChains(request, context)


@pytest.mark.parametrize("watchers", [1, 24])
async def test_watchers_that_begin_together_share_the_reads_of_live_requests(
    manager: Manager, statements: Counter[str], watchers: int
) -> None:
    runner = CountingRunner("one")
    await manager.register(runner)
    ids = [await begun(manager, runner) for _ in range(STAY)]
    for request_id in ids:
        await tell(runner, request_id, "a", RUNNING, number_of(0, 1000))
    statements.clear()

    async def one(stack: AsyncExitStack) -> Told:
        told = await stack.enter_async_context(watching(manager, include_job_chain=True))
        await until(lambda: all(told.of(id_) for id_ in ids))
        return told

    async with AsyncExitStack() as stack:
        told = await asyncio.gather(*(one(stack) for _ in range(watchers)))

    for one_told in told:
        assert all(one_told.of(id_) == ["snapshot RUNNING a"] for id_ in ids)
        assert all(len(event.snapshot.job_chain.jobs) == 3 for event in one_told.events)
    # Once for the first who watches all; the others do not all come before the same read.
    assert max(runner.described.values()) <= 8
    assert statements["list_requests"] <= 8
    assert statements["get_job_chains"] <= 6 * len(ids)


async def test_a_snapshot_of_the_database_shows_what_the_database_says(database: str) -> None:
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
