from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.load import Load
from tests.chaos.marks import START, STOPPED, Mark
from tests.chaos.storm import Storm
from tests.waiting import until

from spincycle.request_manager.runners.directory import UNREACHABLE_BACKOFF
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2


async def test_a_runner_that_is_asked_to_end_hands_its_requests_over(
    cluster: Cluster, load: Load
) -> None:
    storm = Storm(cluster, load)
    ended: list[int] = []

    async def faults() -> None:
        await asyncio.sleep(2)
        ended.append(await cluster.job_runners[0].end(signal.SIGTERM))
        cluster.job_runners[0].start()
        await asyncio.sleep(1)

    await storm.blow(faults, rate=5, ms=300)

    verdict = await storm.verdict()
    print(verdict.figures())
    assert verdict.wrong == []
    assert ended == [0]
    assert "before shutdown" not in cluster.job_runners[0].log.read_text()


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_every_process_drains_in_turn_and_all_at_once_without_a_loss(
    cluster: Cluster, load: Load
) -> None:
    storm = Storm(cluster, load)
    ended: dict[str, int] = {}

    async def faults() -> None:
        for member in cluster.members:
            await asyncio.sleep(2)
            ended[member.service.name] = await member.end(signal.SIGTERM)
            member.start()
        await asyncio.sleep(3)
        codes = await asyncio.gather(*(member.end(signal.SIGTERM) for member in cluster.members))
        ended["all at once"] = max(codes)
        for member in cluster.members:
            member.start()
        await asyncio.sleep(3)

    await storm.blow(faults, rate=4, ms=300)

    verdict = await storm.verdict()
    print(verdict.figures(), ended)
    assert verdict.wrong == []
    assert set(ended.values()) == {0}


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "shape", [Shape(gateway=False, settings={"JR": {"STOP_LIMIT": "2", "GRACE": "8"}})]
)
async def test_a_job_that_ignores_its_stop_does_not_keep_its_runner_from_ending(
    cluster: Cluster, load: Load
) -> None:
    request_id = await load.create("deaf", 3_600_000)
    await until(cluster.marks)
    pid = cluster.marks()[0].pid
    runner = next(member for member in cluster.job_runners if member.pid == pid)

    assert await runner.end(signal.SIGTERM) == 0

    async def runs() -> bool:
        response = await load.stub.Get(rpc.GetRequest(request_id=request_id))
        return response.request.state == state_pb2.STATE_RUNNING

    await until(lambda: len({mark.pid for mark in cluster.marks()}) == 2)
    # The job begins before its runner has answered, and the answer is what makes it RUNNING.
    await until(runs)


class Handover:
    """A request whose runner ends, and times of what happened to it, in seconds since 1970."""

    def __init__(self, cluster: Cluster, database: asyncpg.Connection, load: Load) -> None:
        self._cluster = cluster
        self._database = database
        self._load = load
        self._request_id = ""

    async def begin(self) -> None:
        """Create a request and wait until its job runs."""
        self._request_id = await self._load.create("lasting", 3_600_000)
        await until(lambda: self._starts(1))

    async def until_registered(self, runners: int) -> float:
        """Wait until this many runners have registered; return when the last one did."""
        query = """SELECT extract(epoch FROM max(registered_at))::float8
                     FROM request_manager.runners HAVING count(*) = $1"""
        await until(lambda: self._database.fetchval(query, runners))
        return float(await self._database.fetchval(query, runners))

    async def resumed_at(self) -> float:
        """Wait until the job runs again; return when its try began."""
        await until(lambda: self._starts(2))
        return self._starts(2).pop()

    def stopped_at(self) -> float:
        """Return when the first try of the job was stopped."""
        marks = self._cluster.marks()
        return next(one.at for one in marks if self._is_mine(one) and one.event == STOPPED)

    async def longest_wait(self, since: float) -> float:
        """Wait until all requests have started; return how long after `since` the last one did."""
        waiting = "SELECT count(*) = 0 FROM request_manager.requests WHERE started_at IS NULL"
        await until(lambda: self._database.fetchval(waiting))
        last = "SELECT max(started_at) FROM request_manager.requests WHERE created_at < $1"
        since_time = datetime.fromtimestamp(since, UTC)
        started: datetime | None = await self._database.fetchval(last, since_time)
        assert started is not None
        return started.timestamp() - since

    def _starts(self, count: int) -> list[float]:
        marks = self._cluster.marks()
        starts = [one.at for one in marks if self._is_mine(one) and one.event == START]
        return starts if len(starts) == count else []

    def _is_mine(self, mark: Mark) -> bool:
        return mark.request_id == self._request_id


@pytest.fixture
async def handover(cluster: Cluster, load: Load) -> AsyncIterator[Handover]:
    database = await cluster.connect()
    yield Handover(cluster, database, load)
    await database.close()


@pytest.mark.chaos
@pytest.mark.parametrize("shape", [Shape(gateway=False)])
async def test_a_runner_that_is_registered_gets_the_requests_of_one_that_ends(
    cluster: Cluster, handover: Handover
) -> None:
    old, new = cluster.job_runners
    await new.end(signal.SIGTERM)
    await handover.begin()
    new.start()
    await handover.until_registered(3)

    await old.end(signal.SIGTERM)

    gap = await handover.resumed_at() - handover.stopped_at()
    print(f"resumed {gap:.3f} s after the stop")
    assert gap < UNREACHABLE_BACKOFF


@pytest.mark.chaos
@pytest.mark.parametrize("shape", [Shape(request_managers=1, gateway=False)])
@pytest.mark.parametrize(
    ("number", "successor"),
    [(signal.SIGTERM, 0), (signal.SIGTERM, 1), (signal.SIGKILL, 0), (signal.SIGKILL, 1)],
    ids=["ended, same address", "ended, another address", "killed, same", "killed, another"],
)
async def test_the_requests_of_the_only_runner_go_to_the_next_one_as_it_registers(
    cluster: Cluster, load: Load, handover: Handover, number: signal.Signals, successor: int
) -> None:
    old, new = cluster.job_runners[0], cluster.job_runners[successor]
    await cluster.job_runners[1].end(signal.SIGTERM)
    await handover.begin()
    registered = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(registered, rate=10, ms=20))
        await old.end(number)
        # The request managers try in vain to reach the old runner until the new one registers.
        new.start()
        registered_at = await handover.until_registered(3)
        registered.set()

    resumed = await handover.resumed_at() - registered_at
    longest = await handover.longest_wait(registered_at)
    print(f"resumed {resumed:.3f} s and all others started {longest:.3f} s after the registration")
    assert longest < UNREACHABLE_BACKOFF
    # A runner that was killed is evicted first.
    assert number == signal.SIGKILL or resumed < UNREACHABLE_BACKOFF
