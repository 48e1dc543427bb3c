"""Explain responds while the runner, the job log or both do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc
import pytest
from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    Context,
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    add_job_log,
    another,
    running_manager,
    until,
)

from spincycle.internal.v1 import job_runner_service_pb2
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.v1 import job_chain_pb2, job_log_pb2, job_log_service_pb2, state_pb2, waiting_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

COMPLETE = state_pb2.STATE_COMPLETE
RUNNING = state_pb2.STATE_RUNNING
SUSPENDED = state_pb2.STATE_SUSPENDED
NO_RUNNER = waiting_pb2.WAIT_REASON_NO_RUNNER
PARENTS = waiting_pb2.WAIT_REASON_PARENTS

ASSIGN = """
UPDATE request_manager.requests
   SET runner_id = $2, epoch = 1, claimed_until = now() + interval '8 seconds' WHERE request_id = $1
"""


class FrozenRunner(SteeredRunner):
    """A runner that accepts chains and responds to no other call."""

    async def ExplainChain(
        self, request: job_runner_service_pb2.ExplainChainRequest, context: Context
    ) -> job_runner_service_pb2.ExplainChainResponse:
        await asyncio.Event().wait()
        raise AssertionError("the event is never set")


class FrozenJobLog(ShelvedJobLog):
    """A job log that can stop responding, or fail."""

    problem = ""

    async def ListEntries(
        self, request: job_log_service_pb2.ListEntriesRequest, context: Context
    ) -> job_log_service_pb2.ListEntriesResponse:
        await self._fail(context)
        return await super().ListEntries(request, context)

    async def Fence(
        self, request: journal_pb2.FenceRequest, context: Context
    ) -> journal_pb2.FenceResponse:
        await self._fail(context)
        return await super().Fence(request, context)

    async def _fail(self, context: Any) -> None:
        if self.problem == "away":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        if self.problem == "frozen":
            await asyncio.Event().wait()


@pytest.fixture
async def job_log() -> AsyncIterator[tuple[FrozenJobLog, str]]:
    servicer = FrozenJobLog()
    server = grpc.aio.server()
    add_job_log(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
async def manager(
    config: RequestManagerConfig, job_log: tuple[FrozenJobLog, str]
) -> AsyncIterator[Manager]:
    """A request manager that evicts no runner."""
    patient = replace(config, silence_limit=3600.0)
    async with running_manager(patient, job_log[0]) as running:
        yield running


async def explain(manager: Manager, request_id: str, timeout: float = 10) -> rpc.ExplainResponse:
    request = rpc.ExplainRequest(request_id=request_id)
    return await manager.stub.Explain(request, timeout=timeout)


async def running_on(manager: Manager, runner: SteeredRunner) -> str:
    await manager.register(runner)
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, RUNNING)
    return request_id


async def chain_of(manager: Manager, request_id: str) -> job_chain_pb2.JobChain:
    return (await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id))).job_chain


def silence(text: str, problem: str) -> str:
    """Return the end of an explanation that states the silence of the runner."""
    before, _, after = text.partition(" s ago. ")
    named, _, seconds = before.rpartition(" ")
    assert named == f"runner r1 {problem}; its last heartbeat was"
    assert float(seconds) >= 0
    return after


@pytest.mark.parametrize("is_there", [True, False], ids=["frozen", "dead"])
async def test_a_runner_that_does_not_respond_is_named_and_the_journal_is_read(
    manager: Manager, is_there: bool
) -> None:
    runner = FrozenRunner("r1")
    request_id = await running_on(manager, runner)
    chain = await chain_of(manager, request_id)
    manager.job_log.entries[request_id] = [
        job_log_pb2.JobLog(
            request_id=request_id, job_id=chain.jobs[0].id, position=1, epoch=1, state=COMPLETE
        )
    ]
    if not is_there:
        await runner.server.stop(0)

    response = await explain(manager, request_id)

    assert response.state == RUNNING
    assert silence(response.message, "does not respond") == (
        "After 3600 s of silence the runner is evicted, and the request is recovered on another "
        "runner"
    )
    assert [(job.job_id, job.reason) for job in response.jobs] == [
        (chain.jobs[1].id, NO_RUNNER),
        (chain.jobs[2].id, PARENTS),
    ]
    assert response.jobs[0].message == response.message


async def test_a_request_manager_that_has_just_started_says_that_silence_may_have_lasted_longer(
    manager: Manager, job_log: tuple[FrozenJobLog, str]
) -> None:
    request_id = await running_on(manager, FrozenRunner("r1"))
    async with running_manager(another(manager.config), job_log[0]) as started:
        response = await explain(started, request_id)
        assert "does not respond; its last heartbeat was at least " in response.message

        beat = coordination_pb2.HeartbeatRequest(runner_id="r1")
        await started.coordination.Heartbeat(beat)

        response = await explain(started, request_id)
        assert silence(response.message, "does not respond").startswith("After 3600 s of silence")


async def test_a_request_to_be_stopped_is_stopped_by_the_eviction_of_its_runner(
    manager: Manager,
) -> None:
    request_id = await running_on(manager, FrozenRunner("r1"))
    await manager.stub.Stop(rpc.StopRequest(request_id=request_id))

    response = await explain(manager, request_id)

    assert silence(response.message, "does not respond") == (
        "After 3600 s of silence the runner is evicted, and the request is stopped"
    )


async def test_a_request_that_its_runner_has_not_accepted_names_the_runner(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id
    await connection.execute(ASSIGN, request_id, "r1")
    await manager.register(FrozenRunner("r1"))

    response = await explain(manager, request_id)

    assert silence(
        response.message, "was assigned the request and has not accepted it yet"
    ).startswith("After 3600 s of silence")
    assert [job.reason for job in response.jobs] == [NO_RUNNER, PARENTS, PARENTS]


@pytest.mark.parametrize("problem", ["away", "frozen"])
async def test_without_runner_and_job_log_the_runner_is_named(
    manager: Manager, job_log: tuple[FrozenJobLog, str], problem: str
) -> None:
    request_id = await running_on(manager, FrozenRunner("r1"))
    job_log[0].problem = problem

    # Shorter than the timeout of each of them.
    response = await explain(manager, request_id, timeout=4)

    assert silence(response.message, "does not respond").endswith(
        "; what its jobs wait for is not known: the job log does not respond"
    )
    assert not response.jobs


async def test_without_the_job_log_a_request_that_never_ran_is_explained_by_its_archive(
    manager: Manager, job_log: tuple[FrozenJobLog, str]
) -> None:
    job_log[0].problem = "away"
    request_id = (await manager.create()).request.id

    response = await explain(manager, request_id)

    assert response.message == "there is no live job runner to run the request"
    assert [job.reason for job in response.jobs] == [NO_RUNNER, PARENTS, PARENTS]


async def test_without_the_job_log_a_suspended_request_is_explained_by_its_saved_state(
    manager: Manager, job_log: tuple[FrozenJobLog, str]
) -> None:
    runner = FrozenRunner("r1")
    request_id = await running_on(manager, runner)
    await manager.stub.Suspend(rpc.SuspendRequest(request_id=request_id))
    await until(lambda: request_id in runner.suspended)
    chain = await chain_of(manager, request_id)
    for job in chain.jobs[:2]:
        job.state = COMPLETE
    report = coordination_pb2.RunnerReport()
    report.suspended.request_id = request_id
    report.suspended.epoch = 1
    report.suspended.job_chain.CopyFrom(chain)
    await manager.coordination.Report(coordination_pb2.ReportRequest(reports=[report]))
    job_log[0].problem = "away"

    response = await explain(manager, request_id)

    assert response.state == SUSPENDED
    assert [job.job_id for job in response.jobs] == [chain.jobs[2].id]
    assert response.jobs[0].reason == waiting_pb2.WAIT_REASON_SUSPENDED
