"""A runner gets what it needs to count timeouts: starts, and periods of suspension by callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime

import asyncpg
import pytest
from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    Context,
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    running_manager,
    until,
)

from spincycle.internal.v1 import job_runner_service_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.v1 import job_log_pb2, state_pb2, suspended_job_chain_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

SPEC = """
sequences:
  limited:
    request: true
    timeout: 10m
    args:
      required:
        - name: ms
    nodes:
      part:
        category: sequence
        type: limited-part
        args:
          - expected: ms
  limited-part:
    timeout: 5m
    args:
      required:
        - name: ms
    nodes:
      rest:
        category: job
        type: sleep
        args:
          - expected: duration
            given: ms
"""

COMPLETE = state_pb2.STATE_COMPLETE
FAIL = state_pb2.STATE_FAIL
RUNNING = state_pb2.STATE_RUNNING
STOPPED = state_pb2.STATE_STOPPED
SUSPENDED = state_pb2.STATE_SUSPENDED

NOW = "SELECT clock_timestamp()"
STARTED_AT = "SELECT started_at FROM request_manager.requests WHERE request_id = $1"
SUSPENDED_AT = "SELECT suspended_at FROM request_manager.requests WHERE request_id = $1"
SET_CLOCK_BACK = """
UPDATE request_manager.requests
   SET suspended_at = suspended_at + interval '1 hour'
 WHERE request_id = $1
"""
LOST = """
UPDATE request_manager.requests
   SET epoch = epoch + 1, orphaned = true, claimed_until = now()
 WHERE request_id = $1 AND NOT orphaned
"""
CUT_SAVED_STATE = """
UPDATE request_manager.suspended_job_chains
   SET suspended_job_chain =
       substring(suspended_job_chain FOR octet_length(suspended_job_chain) - 3)
 WHERE request_id = $1
"""

OLD = 1_000_000_000
"""A time long ago, in seconds since 1970."""


@pytest.fixture
def config(config: RequestManagerConfig) -> RequestManagerConfig:
    (config.specs_dir / "limited.yaml").write_text(SPEC)
    return config


@pytest.fixture
async def manager(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[Manager]:
    """A request manager that evicts no silent runner."""
    async with running_manager(replace(config, silence_limit=3600.0), job_log[0]) as running:
        yield running


@pytest.fixture
async def runner(manager: Manager) -> SteeredRunner:
    return await manager.register(SteeredRunner("runner"))


async def running(manager: Manager) -> str:
    """Return the id of a request that a runner has accepted."""
    request_id = (await manager.create(type="limited")).request.id
    await manager.until_state(request_id, RUNNING)
    return request_id


async def suspend(manager: Manager, request_id: str) -> None:
    await manager.stub.Suspend(rpc.SuspendRequest(request_id=request_id))


async def report_saved(manager: Manager, runner: SteeredRunner, request_id: str) -> None:
    """Report the saved state of a request as its runner."""
    chain = await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id))
    saved = suspended_job_chain_pb2.SuspendedJobChain(
        request_id=request_id, epoch=runner.chains[request_id], job_chain=chain.job_chain
    )
    saved.sequence_started_at["A"].FromSeconds(OLD)
    saved.suspended_periods.add().suspended_at.FromSeconds(OLD)
    report = coordination_pb2.RunnerReport(suspended=saved)
    response = await manager.coordination.Report(coordination_pb2.ReportRequest(reports=[report]))
    assert not response.results[0].HasField("refused"), response


async def resumed(
    manager: Manager, runner: SteeredRunner, request_id: str
) -> suspended_job_chain_pb2.SuspendedJobChain:
    """Resume a request; return the state that its runner gets."""
    runner.resumed.pop(request_id, None)
    await manager.stub.Resume(rpc.ResumeRequest(request_id=request_id))
    await until(lambda: request_id in runner.resumed)
    await manager.until_state(request_id, RUNNING)
    return runner.resumed[request_id]


async def rebuilt(
    manager: Manager, connection: asyncpg.Connection, runner: SteeredRunner, request_id: str
) -> suspended_job_chain_pb2.SuspendedJobChain:
    """Lose the runner of a request; return the state that the next runner gets."""
    runner.resumed.pop(request_id, None)
    await connection.execute(LOST, request_id)
    await until(lambda: request_id in runner.resumed)
    await manager.until_state(request_id, RUNNING)
    return runner.resumed[request_id]


async def journal_begins(manager: Manager, request_id: str, count: int = 2) -> list[str]:
    """Journal that the request and its inner sequence began long ago, a second apart.

    Return the ids of their first jobs; the first `count` of them get an entry.
    """
    chain = await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id))
    begins = [job for job in chain.job_chain.jobs if job.id == job.sequence_id]
    for position, job in enumerate(begins[:count], start=1):
        entry = job_log_pb2.JobLog(
            request_id=request_id,
            job_id=job.id,
            name=job.name,
            type=job.type,
            state=COMPLETE,
            sequence_id=job.sequence_id,
            sequence_try_number=1,
            position=position,
            epoch=1,
            try_number=1,
        )
        entry.started_at.FromSeconds(OLD + position)
        entry.finished_at.FromSeconds(OLD + position)
        manager.job_log.entries.setdefault(request_id, []).append(entry)
    return [job.id for job in begins]


def periods(
    saved: suspended_job_chain_pb2.SuspendedJobChain,
) -> list[tuple[float, float]]:
    """Periods in seconds since 1970."""
    return [
        (period.suspended_at.ToMicroseconds() / 1e6, period.resumed_at.ToMicroseconds() / 1e6)
        for period in saved.suspended_periods
    ]


def starts(saved: suspended_job_chain_pb2.SuspendedJobChain) -> dict[str, float]:
    """Starts in seconds since 1970."""
    found = saved.sequence_started_at
    return {job_id: time.ToMicroseconds() / 1e6 for job_id, time in found.items()}


async def times(
    connection: asyncpg.Connection, act: Callable[[], Awaitable[object]]
) -> list[float]:
    """Return the database's time before and after an action."""
    before: datetime = await connection.fetchval(NOW)
    await act()
    after: datetime = await connection.fetchval(NOW)
    return [before.timestamp(), after.timestamp()]


async def test_each_suspension_by_a_caller_until_its_resumption_is_a_period(
    manager: Manager, connection: asyncpg.Connection, runner: SteeredRunner
) -> None:
    request_id = await running(manager)
    expected: list[float] = []

    for _ in range(2):
        await suspend(manager, request_id)
        expected += await times(connection, lambda: report_saved(manager, runner, request_id))
        expected += await times(connection, lambda: resumed(manager, runner, request_id))

    found = runner.resumed[request_id]
    moments = [moment for period in periods(found) for moment in period]
    assert len(moments) == 4
    for number, moment in enumerate(moments):
        assert expected[2 * number] <= moment <= expected[2 * number + 1]
    assert starts(found) == {"A": OLD}


async def test_a_hand_over_between_runners_is_no_period(
    manager: Manager, connection: asyncpg.Connection, runner: SteeredRunner
) -> None:
    request_id = await running(manager)

    await report_saved(manager, runner, request_id)
    await until(lambda: request_id in runner.resumed)

    assert await connection.fetchval(SUSPENDED_AT, request_id) is None
    assert periods(runner.resumed[request_id]) == []
    assert starts(runner.resumed[request_id]) == {"A": OLD}


async def test_a_suspension_that_is_resumed_before_the_runner_has_suspended_is_no_period(
    manager: Manager, runner: SteeredRunner
) -> None:
    request_id = await running(manager)
    await suspend(manager, request_id)
    await manager.stub.Resume(rpc.ResumeRequest(request_id=request_id))

    await report_saved(manager, runner, request_id)
    await until(lambda: request_id in runner.resumed)

    assert periods(runner.resumed[request_id]) == []


async def test_a_second_suspension_before_the_resumption_begins_no_other_period(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create(type="limited")).request.id
    await suspend(manager, request_id)
    first = await connection.fetchval(SUSPENDED_AT, request_id)

    await suspend(manager, request_id)

    assert first is not None
    assert await connection.fetchval(SUSPENDED_AT, request_id) == first
    await manager.stub.Stop(rpc.StopRequest(request_id=request_id))
    assert await manager.state(request_id) == STOPPED
    assert await connection.fetchval(SUSPENDED_AT, request_id) is None


class Hesitant(SteeredRunner):
    """A runner that refuses chains once the test lets it."""

    def __init__(self, runner_id: str) -> None:
        super().__init__(runner_id)
        self.refuse_with = "RUNNER_FULL"
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def RunChains(
        self, request: job_runner_service_pb2.RunChainsRequest, context: Context
    ) -> job_runner_service_pb2.RunChainsResponse:
        self.asked.set()
        await self.answer.wait()
        return await super().RunChains(request, context)


async def test_a_request_that_is_suspended_while_a_runner_refuses_it_begins_its_period(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    hesitant = await manager.register(Hesitant("hesitant"))
    request_id = (await manager.create(type="limited")).request.id
    await hesitant.asked.wait()
    await suspend(manager, request_id)
    assert await connection.fetchval(SUSPENDED_AT, request_id) is None

    hesitant.answer.set()
    await manager.until_state(request_id, SUSPENDED)

    assert await connection.fetchval(SUSPENDED_AT, request_id) is not None


async def test_a_period_is_empty_if_the_clock_was_set_back_within_it(
    manager: Manager, connection: asyncpg.Connection, runner: SteeredRunner
) -> None:
    request_id = await running(manager)
    await suspend(manager, request_id)
    await report_saved(manager, runner, request_id)
    await connection.execute(SET_CLOCK_BACK, request_id)

    assert periods(await resumed(manager, runner, request_id)) == []


async def test_a_rebuilt_state_has_the_starts_in_the_journal_and_all_periods(
    manager: Manager, connection: asyncpg.Connection, runner: SteeredRunner
) -> None:
    request_id = await running(manager)
    await suspend(manager, request_id)
    await report_saved(manager, runner, request_id)
    before = periods(await resumed(manager, runner, request_id))
    first, inner = await journal_begins(manager, request_id)

    found = await rebuilt(manager, connection, runner, request_id)

    assert starts(found) == {first: OLD + 1, inner: OLD + 2}
    assert len(before) == 1
    assert periods(found) == before


async def test_a_request_that_is_suspended_when_its_runner_dies_is_in_a_period_from_then_on(
    manager: Manager, connection: asyncpg.Connection, runner: SteeredRunner
) -> None:
    request_id = await running(manager)
    await suspend(manager, request_id)
    await connection.execute(LOST, request_id)
    await manager.until_state(request_id, SUSPENDED)
    started = await connection.fetchval(SUSPENDED_AT, request_id)

    found = await resumed(manager, runner, request_id)

    assert [start for start, _ in periods(found)] == [started.timestamp()]


async def test_a_request_without_begin_entries_is_rebuilt_with_the_start_in_its_row(
    manager: Manager, connection: asyncpg.Connection, runner: SteeredRunner
) -> None:
    request_id = await running(manager)
    (first, _) = await journal_begins(manager, request_id, count=0)

    found = await rebuilt(manager, connection, runner, request_id)

    started = await connection.fetchval(STARTED_AT, request_id)
    assert starts(found) == {first: started.timestamp()}


async def test_a_rerun_counts_from_its_own_start_however_old_its_begin_entries_are(
    manager: Manager, connection: asyncpg.Connection, runner: SteeredRunner
) -> None:
    old = await running(manager)
    first, inner = await journal_begins(manager, old)
    await manager.finish(old, 1, FAIL)

    new = (await manager.stub.Rerun(rpc.RerunRequest(request_id=old))).request.id
    await until(lambda: new in runner.resumed)
    await manager.until_state(new, RUNNING)
    assert starts(runner.resumed[new]) == {}
    assert [entry.epoch for entry in manager.job_log.entries[new]] == [0, 0]

    found = await rebuilt(manager, connection, runner, new)

    started = (await connection.fetchval(STARTED_AT, new)).timestamp()
    assert starts(found) == {first: started, inner: started}


async def test_a_damaged_state_is_detected_despite_the_periods_beside_it(
    manager: Manager, connection: asyncpg.Connection, runner: SteeredRunner
) -> None:
    request_id = await running(manager)
    await suspend(manager, request_id)
    await report_saved(manager, runner, request_id)
    await connection.execute(CUT_SAVED_STATE, request_id)

    found = await resumed(manager, runner, request_id)

    assert found.epoch == 4
    assert manager.job_log.fence_calls[request_id] == [2, 3, 4], "found damaged, rebuilt, resumed"
    assert len(periods(found)) == 1
