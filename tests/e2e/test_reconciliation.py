"""Real processes find and repair what a restore or a stray fence left different."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from tests.waiting import until

from spincycle.dev.content import find_content
from spincycle.dev.services import FREE_PORTS
from spincycle.dev.stack import Stack, StackConfig
from spincycle.rpc.channel import open_channel
from spincycle.v1 import job_log_service_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

FAULTS = {
    "the journal is fenced under a higher epoch": (
        "INSERT INTO job_log.fences VALUES ($1, 9)"
        " ON CONFLICT (request_id) DO UPDATE SET epoch = excluded.epoch"
    ),
    "the row is restored from before the assignment": (
        "UPDATE request_manager.requests SET state = 1, runner_id = NULL, epoch = 0,"
        " started_at = NULL, finished_jobs = 0 WHERE request_id = $1"
    ),
    "the row is restored from an older assignment": (
        "UPDATE request_manager.requests SET state = 7, runner_id = NULL, epoch = 0"
        " WHERE request_id = $1"
    ),
    "the row names a runner that nobody knows": (
        "UPDATE request_manager.requests SET runner_id = 'forgotten' WHERE request_id = $1"
    ),
}
"""What happens to a running request behind the services' backs, as SQL."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack() -> AsyncIterator[Stack]:
    config = StackConfig(find_content(None, ()), ports=FREE_PORTS, restarts=False)
    async with Stack(config, lambda *_: None) as stack:
        yield stack


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_running_request_goes_on_and_no_completed_job_runs_again(
    stack: Stack, fault: str
) -> None:
    connection = await asyncpg.connect(stack.dsn)
    async with (
        open_channel(stack.request_manager) as channel,
        open_channel(stack.job_log) as log_channel,
    ):
        manager, log = RequestManagerServiceStub(channel), JobLogServiceStub(log_channel)
        created = rm.CreateRequest(type="test")
        created.args.update({"sleepTime": "1500"})
        request_id = (await manager.Create(created)).request.id

        async def request() -> rm.GetResponse:
            return await manager.Get(rm.GetRequest(request_id=request_id))

        async def entries() -> Counter[str]:
            asked = job_log_service_pb2.ListEntriesRequest(request_id=request_id)
            listed = (await log.ListEntries(asked)).entries
            return Counter(each.job_id for each in listed if each.state == state_pb2.STATE_COMPLETE)

        async def has_begun() -> bool:
            found = (await request()).request
            return found.state == state_pb2.STATE_RUNNING and len(await entries()) > 0

        async def has_ended() -> bool:
            return (await request()).request.HasField("finished_at")

        await until(has_begun)
        before = await entries()
        await connection.execute(FAULTS[fault], request_id)
        await until(has_ended)
        ended = (await request()).request

        assert state_pb2.State.Name(ended.state) == "STATE_COMPLETE"
        assert ended.finished_jobs == ended.total_jobs
        after = await entries()
        assert all(after[job_id] == count for job_id, count in before.items())
        assert set(after.values()) == {1}
    await connection.close()
